#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <hdf5.h>

#include <gradhealth/errors.h>
#include <gradhealth/report.h>
#include <gradhealth/run_file.h>

#include "run_file/sample_run.h"
#include "support/catch.h"
#include "support/synthetic_run.h"
#include "support/temporary_directory.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

/// What a trainer that dies here would leave behind.
void leave(RunWriter& writer, const std::filesystem::path& path) {
  writer.flush();
  std::filesystem::copy_file(writer.status().path, path);
}

Run late_run() {
  Run run = sample_run();
  run.info.libraries = "LibTorch 1.13.1";
  run.info.weight_decay = 0.01;
  run.info.first_step = 7;
  run.info.continues = "earlier.h5";
  return run;
}

/// 700 rows, subjects that appear in the middle, events with and without a row, in no order of steps.
std::filesystem::path crashed_run(const TemporaryDirectory& directory) {
  Run run = late_run();
  RunWriter writer(directory / "alive.h5", run);
  for (std::int64_t step = 0; step < 700; ++step) {
    if (step == 400) run.of(Axis::kActivation).push_back({"späte=1", "", "tap", "1", "float32", 1});
    writer.append(run, sample_row(run, step * 10 + 4));
    if (step == 300) writer.append(Event{12, "intervention", "x", "told late"});
  }
  writer.append(Event{99'999, "monitor", "", std::string("of no row, with a line\nfeed")});
  leave(writer, directory / "crashed.h5");
  return directory / "crashed.h5";
}

std::vector<StepRecord> rows_of(const RunReader& reader) {
  std::vector<StepRecord> rows;
  reader.for_each_step([&](const StepRecord& row) { rows.push_back(row); });
  return rows;
}

void check_same(const RunReader& a, const RunReader& b) {
  const RunInfo &x = a.run().info, &y = b.run().info;
  CHECK(std::tie(x.name, x.created_utc, x.command_line, x.libraries, x.optimizer, x.momentum, x.beta2, x.epsilon,
                 x.weight_decay, x.loss_kind, x.first_step, x.continues) ==
        std::tie(y.name, y.created_utc, y.command_line, y.libraries, y.optimizer, y.momentum, y.beta2, y.epsilon,
                 y.weight_decay, y.loss_kind, y.first_step, y.continues));
  for (std::size_t axis = 0; axis < kAxisCount; ++axis) {
    REQUIRE(a.run().subjects[axis].size() == b.run().subjects[axis].size());
    for (std::size_t i = 0; i < a.run().subjects[axis].size(); ++i) {
      const Subject &s = a.run().subjects[axis][i], &t = b.run().subjects[axis][i];
      CHECK(std::tie(s.name, s.module, s.kind, s.shape, s.dtype, s.size) ==
            std::tie(t.name, t.module, t.kind, t.shape, t.dtype, t.size));
    }
  }
  const std::vector<Event> events = a.events(), others = b.events();
  REQUIRE(events.size() == others.size());
  for (std::size_t i = 0; i < events.size(); ++i)
    CHECK(std::tie(events[i].step, events[i].kind, events[i].subject, events[i].text) ==
          std::tie(others[i].step, others[i].kind, others[i].subject, others[i].text));
  const std::vector<StepRecord> rows = rows_of(a), copies = rows_of(b);
  REQUIRE(rows.size() == copies.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    REQUIRE(same(rows[i], copies[i], a.run()));
  }
}

bool is_lost(const Recovery& recovery, const std::string& object) {
  for (const LostPart& part : recovery.lost)
    if (part.object == object) return part.count > 0 && part.count <= part.of && !part.reason.empty();
  return false;
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Changes a byte of an object's header, which its checksum then does not fit.
void spoil_header(const std::filesystem::path& path, const char* object) {
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY | H5F_ACC_SWMR_READ, H5P_DEFAULT);
#if H5_VERSION_GE(1, 12, 0)
  H5O_info1_t info{};
#else
  H5O_info_t info{};
#endif
  H5Oget_info_by_name2(file, object, &info, H5O_INFO_BASIC, H5P_DEFAULT);
  H5Fclose(file);
  std::fstream stream(path, std::ios::binary | std::ios::in | std::ios::out);
  stream.seekp(static_cast<std::streamoff>(info.addr) + 9);
  stream.put('\x55');
}

}  // namespace

TEST_CASE("a crashed run becomes an ordinary, smaller file that says the same", "[run_file]") {
  TemporaryDirectory directory;
  const std::filesystem::path crashed = crashed_run(directory);
  const std::string before = bytes_of(crashed);
  const Recovery recovery = recover(crashed, directory / "fixed.h5");
  CHECK(recovery.was == RunState::kUnfinished);
  CHECK(recovery.is == RunState::kRecovered);
  CHECK(recovery.rows == 700);
  CHECK(recovery.events == 702);
  CHECK(recovery.lost.empty());
  CHECK(bytes_of(crashed) == before);
  CHECK(std::filesystem::file_size(directory / "fixed.h5") < std::filesystem::file_size(crashed) / 2);

  const RunReader fixed(directory / "fixed.h5");
  CHECK(fixed.state() == RunState::kRecovered);
  check_same(RunReader(crashed), fixed);

  // Ordinary: opens without the mode for concurrent reading, and is compressed.
  const hid_t file = H5Fopen((directory / "fixed.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  REQUIRE(file >= 0);
  const hid_t dataset = H5Dopen2(file, "parameter/gradient_norm", H5P_DEFAULT);
  const hid_t creation = H5Dget_create_plist(dataset);
  unsigned flags = 0;
  std::size_t parameters = 0;
  CHECK(H5Pget_nfilters(creation) == 2);
  CHECK(H5Pget_filter2(creation, 0, &flags, &parameters, nullptr, 0, nullptr, nullptr) == H5Z_FILTER_SHUFFLE);
  parameters = 0;
  CHECK(H5Pget_filter2(creation, 1, &flags, &parameters, nullptr, 0, nullptr, nullptr) == H5Z_FILTER_DEFLATE);
  H5Pclose(creation);
  H5Dclose(dataset);
  H5Fclose(file);
}

TEST_CASE("a recovered run can be recovered again, and a finished one stays finished", "[run_file]") {
  TemporaryDirectory directory;
  const std::filesystem::path crashed = crashed_run(directory);
  recover(crashed, directory / "once.h5");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // The bytes do not tell when they were written.
  CHECK(recover(directory / "once.h5", directory / "twice.h5").is == RunState::kRecovered);
  check_same(RunReader(crashed), RunReader(directory / "twice.h5"));
  CHECK(bytes_of(directory / "once.h5") == bytes_of(directory / "twice.h5"));

  const Run run = sample_run();
  RunWriter writer(directory / "whole.h5", run);
  writer.append(run, sample_row(run, 0));
  writer.close();
  CHECK(recover(directory / "whole.h5", directory / "copy.h5").is == RunState::kFinished);
  CHECK(RunReader(directory / "copy.h5").state() == RunState::kFinished);
}

TEST_CASE("a run that died before its first row is recovered, too", "[run_file]") {
  TemporaryDirectory directory;
  const Run run = sample_run();
  RunWriter writer(directory / "empty.h5", run);
  leave(writer, directory / "first.h5");
  const Recovery none = recover(directory / "first.h5", directory / "none.h5");
  CHECK(none.rows == 0);
  CHECK(none.lost.empty());
  CHECK(RunReader(directory / "none.h5").run().of(Axis::kParameter).size() == 3);
}

TEST_CASE("recovering never overwrites and leaves nothing behind where it fails", "[run_file]") {
  TemporaryDirectory directory;
  const std::filesystem::path crashed = crashed_run(directory);
  std::ofstream(directory / "taken.h5") << "mine";
  const auto names = [&] {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(directory.path()))
      all.push_back(entry.path().filename().string());
    std::sort(all.begin(), all.end());
    return all;
  };
  const std::vector<std::string> before = names();
  CHECK_THROWS_AS(recover(crashed, directory / "taken.h5"), UsageError);
  CHECK_THROWS_AS(recover(crashed, crashed), UsageError);
  CHECK_THROWS_AS(recover(crashed, directory.path()), UsageError);
  CHECK_THROWS_AS(recover(directory / "missing.h5", directory / "new.h5"), IoError);
  CHECK_THROWS_AS(recover(directory / "taken.h5", directory / "new.h5"), FormatError);
  CHECK(names() == before);
  CHECK(bytes_of(directory / "taken.h5") == "mine");
}

TEST_CASE("of a damaged run everything else is kept, and what was lost is said", "[run_file]") {
  TemporaryDirectory directory;
  const std::filesystem::path crashed = crashed_run(directory);
  const std::vector<StepRecord> rows = rows_of(RunReader(crashed));
  const auto recovered = [&](const char* object) {
    const std::filesystem::path copy = directory / "spoiled.h5", fixed = directory / "fixed.h5";
    std::filesystem::remove(fixed);
    std::filesystem::copy_file(crashed, copy, std::filesystem::copy_options::overwrite_existing);
    spoil_header(copy, object);
    const Recovery recovery = recover(copy, fixed);
    CAPTURE(object);
    CHECK(is_lost(recovery, object));
    CHECK(recovery.is == RunState::kRecovered);
    return recovery;
  };
  SECTION("a quantity") {
    CHECK(recovered("parameter/gradient_norm").lost.size() == 1);
    const std::vector<StepRecord> fixed = rows_of(RunReader(directory / "fixed.h5"));
    REQUIRE(fixed.size() == rows.size());
    CHECK(std::isnan(fixed[0].at(Quantity::kGradientNorm)));
    CHECK(fixed[0].at(Quantity::kLoss) == rows[0].at(Quantity::kLoss));
    CHECK(fixed[0].at(Quantity::kWeightNorm, 2) == rows[0].at(Quantity::kWeightNorm, 2));
    const hid_t file = H5Fopen((directory / "fixed.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
    CHECK(H5Aexists(file, "lost") > 0);
    H5Fclose(file);
  }
  SECTION("names of subjects") {
    recovered("parameter/name");
    const RunReader fixed(directory / "fixed.h5");
    REQUIRE(fixed.run().of(Axis::kParameter).size() == 3);
    CHECK(fixed.run().of(Axis::kParameter)[0].name == "parameter 0");
    CHECK(fixed.run().of(Axis::kParameter)[2].name == "parameter 2");
    CHECK(fixed.run().of(Axis::kParameter)[1].module == "conv1");
    CHECK(rows_of(fixed)[0].at(Quantity::kGradientNorm, 1) == rows[0].at(Quantity::kGradientNorm, 1));
  }
  SECTION("the number of rows") {
    CHECK(recovered("committed_rows").rows == 700);
    CHECK(same(rows_of(RunReader(directory / "fixed.h5"))[699], rows[699], late_run()));
  }
  SECTION("the state") { CHECK(recovered("state").was == RunState::kUnfinished); }
  SECTION("texts of events") {
    CHECK(recovered("event/text").events == 702);
    CHECK(RunReader(directory / "fixed.h5").events()[0].kind == "nonfinite-input");
  }
  SECTION("times") {
    CHECK(recovered("wall_time").rows == 700);
    CHECK(std::isnan(rows_of(RunReader(directory / "fixed.h5"))[5].wall_time));
  }
  SECTION("steps: without them no row has a place") { CHECK(recovered("step").rows == 0); }
}

TEST_CASE("of a run that was cut off what lies before the cut is kept, bit by bit, and no zeros in place of the rest",
          "[run_file]") {
  TemporaryDirectory directory;
  const std::filesystem::path crashed = crashed_run(directory);
  const std::string whole = bytes_of(crashed);
  const std::vector<StepRecord> rows = rows_of(RunReader(crashed));
  std::size_t complete = 0, partial = 0, refused = 0;
  std::int64_t values = 0, differing = 0;
  constexpr int kCuts = 40;
  for (int part = 1; part <= kCuts; ++part) {
    const std::filesystem::path cut = directory / "cut.h5", fixed = directory / "fixed.h5";
    std::ofstream(cut, std::ios::binary) << whole.substr(0, whole.size() * static_cast<std::size_t>(part) / kCuts);
    std::filesystem::remove(fixed);
    Recovery recovery;
    try {
      recovery = recover(cut, fixed);
    } catch (const FormatError&) {
      ++refused;
      CHECK_FALSE(std::filesystem::exists(fixed));
      continue;
    }
    recovery.lost.empty() ? ++complete : ++partial;
    for (const StepRecord& row : rows_of(RunReader(fixed))) {
      const StepRecord& original = rows[static_cast<std::size_t>(row.step / 10)];
      REQUIRE(original.step == row.step);
      for (const QuantityInfo& quantity : quantities()) {
        const double value = row.at(quantity.id);
        values += !std::isnan(value);
        differing += !std::isnan(value) && value != original.at(quantity.id);
      }
    }
  }
  CHECK(differing == 0);
  CHECK(complete == 1);
  CHECK(partial > 5);
  CHECK(values > 10'000);
  INFO("refused " << refused << ", partial " << partial << ", values " << values);
}

TEST_CASE("damaged bytes end in a copy or in an error, never in a crash", "[run_file]") {
  TemporaryDirectory directory;
  const std::string whole = bytes_of(crashed_run(directory));
  std::size_t partial = 0;
  for (std::size_t i = 0; i < 200; ++i) {
    std::string bytes = whole;
    const std::size_t at = i < 100 ? i * 97 : whole.size() * (i - 100) / 100;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (i % 8)));
    std::ofstream(directory / "damaged.h5", std::ios::binary) << bytes;
    std::filesystem::remove(directory / "fixed.h5");
    try {
      partial += !recover(directory / "damaged.h5", directory / "fixed.h5").lost.empty();
    } catch (const FormatError&) {
      continue;
    }
    const RunReader fixed(directory / "fixed.h5");
    fixed.for_each_step([](const StepRecord&) {});
  }
  CHECK(partial > 0);
}

TEST_CASE("the diagnosis of a recovered run is that of the original", "[run_file]") {
  TemporaryDirectory directory;
  SyntheticRun synthetic;
  RunWriter writer(directory / "alive.h5", synthetic.run);
  for (std::size_t n = 0; n < 120; ++n) {
    StepRecord record = synthetic.step(nth_step(n), learning(nth_step(n)));
    if (n > 60) record.set(Quantity::kGradientNorm, 2, std::numeric_limits<double>::quiet_NaN());
    if (n > 60) record.set(Quantity::kGradientNonfinite, 2, 5);
    writer.append(synthetic.run, record);
  }
  leave(writer, directory / "crashed.h5");
  recover(directory / "crashed.h5", directory / "fixed.h5");
  const auto judged = [&](const char* name) {
    const RunReader reader(directory / name);
    Diagnoser diagnoser;
    reader.for_each_step([&](const StepRecord& record) { diagnoser.observe(reader.run(), record); });
    Report report;
    report.models.push_back({reader.run(), diagnoser.diagnosis(), {}, reader.state() == RunState::kFinished, {}});
    std::ostringstream json;
    write_json(json, report);
    return json.str();
  };
  const std::string original = judged("crashed.h5");
  CHECK(original.find("unhealthy") != std::string::npos);
  CHECK(judged("fixed.h5") == original);
}
