#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

#include "run_file/sample_run.h"
#include "run_file/schema.h"
#include "support/catch.h"
#include "support/temporary_directory.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

std::vector<StepRecord> read_all(const RunReader& reader) {
  std::vector<StepRecord> rows;
  reader.for_each_step([&](const StepRecord& row) { rows.push_back(row); });
  return rows;
}

void add_late_subjects(Run& run) {
  run.of(Axis::kActivation) = {{"conv1", "conv1", "conv2d", "8x4x6x6", "float32", 4},
                               {"conv1:relu", "conv1", "relu", "8x4x6x6", "float32", 4}};
  run.of(Axis::kFeature) = {{"channel 0", "", "conv2d", "8x1x8x8", "float32", 64}};
  for (std::size_t bin = 0; bin < kInputBins; ++bin)
    run.of(Axis::kInputBin)
        .push_back({"channel 0, bin " + std::to_string(bin), "", "conv2d", "8x1x8x8", "float32", 64});
}

}  // namespace

TEST_CASE("what is written is read back exactly, missing and non-finite values included", "[run_file]") {
  TemporaryDirectory directory;
  Run run = sample_run();
  std::vector<StepRecord> written;
  {
    RunWriter writer(directory / "run.h5", run);
    add_late_subjects(run);
    for (std::int64_t step = 0; step < 700; ++step) {
      if (step == 400) {  // Subjects may appear at any time.
        run.of(Axis::kNamed).push_back({"val_loss", "", "named", "", "float64", 1});
        run.of(Axis::kActivation).push_back({"late", "", "tap", "1", "float32", 1});
      }
      written.push_back(sample_row(run, step * 10));
      writer.append(run, written.back());
    }
    writer.append(Event{7000, "monitor", "", "said at the end"});
    writer.close();
    CHECK(writer.status().state == WriterState::kClosed);
    CHECK(writer.status().committed_rows == 700);
    CHECK(writer.status().dropped_rows == 0);
  }
  const RunReader reader(directory / "run.h5");
  CHECK(reader.state() == RunState::kFinished);
  CHECK(reader.rows() == 700);
  CHECK(reader.run().info.name == "G");
  CHECK(reader.run().info.command_line == "./trainer --lr 0.1");
  CHECK(reader.run().info.momentum == 0.9);
  CHECK_FALSE(reader.run().info.weight_decay.has_value());
  CHECK(reader.run().info.beta2 == 0.999);
  CHECK(reader.run().info.epsilon == 1e-8);
  CHECK(reader.run().info.loss_kind == "adversarial");
  REQUIRE(reader.run().of(Axis::kParameter).size() == 3);
  CHECK(reader.run().of(Axis::kParameter)[2].name == "größe.weight");
  CHECK(reader.run().of(Axis::kParameter)[0].size == 36);
  REQUIRE(reader.run().of(Axis::kInputBin).size() == kInputBins);
  CHECK(reader.run().of(Axis::kInputBin)[31].name == "channel 0, bin 31");
  CHECK(reader.run().of(Axis::kActivation)[2].name == "late");
  const std::vector<StepRecord> rows = read_all(reader);
  REQUIRE(rows.size() == written.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    REQUIRE(same(rows[i], written[i], run));
  }
  const std::vector<Event> events = reader.events();
  REQUIRE_FALSE(events.empty());
  CHECK(events.back().text == "said at the end");
}

TEST_CASE("a run of no step is a run", "[run_file]") {
  TemporaryDirectory directory;
  { RunWriter writer(directory / "run.h5", sample_run()); }
  const RunReader reader(directory / "run.h5");
  CHECK(reader.rows() == 0);
  CHECK(reader.run().of(Axis::kParameter).size() == 3);
  CHECK(read_all(reader).empty());
}

TEST_CASE("rows are readable by another process while the run is being written", "[run_file]") {
  TemporaryDirectory directory;
  Run run = sample_run();
  RunWriter writer(directory / "run.h5", run);
  add_late_subjects(run);
  for (std::int64_t step = 0; step < 50; ++step) writer.append(run, sample_row(run, step));
  writer.flush();
  CHECK(writer.status().committed_rows == 50);
  const std::string copy = (directory / "copy.h5").string();
  std::filesystem::copy_file(directory / "run.h5", copy);  // What a process that opens it now would see.
  const RunReader reader(copy);
  CHECK(reader.state() == RunState::kUnfinished);
  REQUIRE(reader.rows() == 50);
  CHECK(same(read_all(reader)[49], sample_row(run, 49), run));
}

TEST_CASE("an existing file is never overwritten", "[run_file]") {
  TemporaryDirectory directory;
  const Run run = sample_run();
  std::ofstream(directory / "run.h5") << "precious";
  RunWriter second(directory / "run.h5", run);
  CHECK(second.status().path == directory / "run-2.h5");
  RunWriter third(directory / "run.h5", run);
  CHECK(third.status().path == directory / "run-3.h5");
  WriterOptions options;
  options.if_exists = IfExists::kError;
  CHECK_THROWS_AS(RunWriter(directory / "run.h5", run, options), UsageError);
  std::string text;
  std::getline(std::ifstream(directory / "run.h5") >> std::ws, text);
  CHECK(text == "precious");
}

TEST_CASE("paths that cannot be run files are refused in one line", "[run_file]") {
  TemporaryDirectory directory;
  const Run run = sample_run();
  CHECK_THROWS_AS(RunWriter(directory.path(), run), UsageError);
  CHECK_THROWS_AS(RunWriter(directory / "", run), UsageError);
  CHECK_THROWS_AS(RunWriter("/proc/nowhere/run.h5", run), IoError);
  { RunWriter writer(directory / "made/on/the/way/run.h5", run); }
  CHECK(std::filesystem::exists(directory / "made/on/the/way/run.h5"));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory.path()))
    CHECK(entry.path().extension() != ".tmp");
}

TEST_CASE("long names are cut between characters and stay different", "[run_file]") {
  TemporaryDirectory directory;
  Run run;
  std::string name;
  for (int i = 0; i < 200; ++i) name += "ä";
  run.of(Axis::kParameter) = {{name + "1", "", "weight", "1", "float32", 1},
                              {name + "2", "", "weight", "1", "float32", 1}};
  RunWriter(directory / "run.h5", run).close();
  const RunReader reader(directory / "run.h5");
  const std::string& first = reader.run().of(Axis::kParameter)[0].name;
  CHECK(first != reader.run().of(Axis::kParameter)[1].name);
  CHECK(first.substr(0, 100) == name.substr(0, 100));
  CHECK(run_file::fit("abcdef", 5) == "ab…");
  CHECK(run_file::fit("ääää", 7) == "ää…");
}

TEST_CASE("a full queue drops rows and says so; what was taken is kept", "[run_file]") {
  TemporaryDirectory directory;
  const Run run = sample_run();
  WriterOptions options;
  options.queue_bytes = 4000;
  options.flush_period = std::chrono::minutes(1);
  RunWriter writer(directory / "run.h5", run, options);
  for (std::int64_t step = 0; step < 30; ++step) writer.append(run, sample_row(run, step));
  CHECK_THROWS_AS(writer.close(), IoError);
  const WriterStatus status = writer.status();
  CHECK(status.dropped_rows > 0);
  CHECK(status.dropped_rows + status.committed_rows == 30);
  CHECK(RunReader(directory / "run.h5").rows() == status.committed_rows);
}

TEST_CASE("a file that is deleted while it is written ends the recording with a reason", "[run_file]") {
  TemporaryDirectory directory;
  const Run run = sample_run();
  RunWriter writer(directory / "run.h5", run);
  writer.append(run, sample_row(run, 0));
  writer.flush();
  std::filesystem::remove(directory / "run.h5");
  writer.append(run, sample_row(run, 1));
  writer.flush();
  CHECK(writer.status().state == WriterState::kFailed);
  CHECK(writer.status().error.find("was deleted") != std::string::npos);
  writer.append(run, sample_row(run, 2));
  CHECK_THROWS_AS(writer.close(), IoError);
}

TEST_CASE("no acknowledged row is lost when the process is killed", "[run_file]") {
  TemporaryDirectory directory;
  const Run run = [] {
    Run with_all = sample_run();
    add_late_subjects(with_all);
    return with_all;
  }();
  auto* acknowledged = static_cast<volatile std::int64_t*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  std::mt19937 random(5);
  for (int kill = 0; kill < 20; ++kill) {
    const std::filesystem::path path = directory / ("run" + std::to_string(kill) + ".h5");
    *acknowledged = -1;
    const pid_t child = ::fork();
    if (child == 0) {
      WriterOptions options;
      options.flush_period = std::chrono::milliseconds(1);
      RunWriter writer(path, run, options);
      *acknowledged = 0;
      for (std::int64_t step = 0;; ++step) {
        writer.append(run, sample_row(run, step));
        *acknowledged = writer.status().committed_rows;
      }
    }
    while (*acknowledged < 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
    std::this_thread::sleep_for(std::chrono::microseconds(std::uniform_int_distribution<int>(0, 60'000)(random)));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    const std::int64_t promised = *acknowledged;
    const RunReader reader(path);
    CHECK(reader.rows() >= promised);
    CHECK(reader.state() == RunState::kUnfinished);
    std::int64_t step = 0;
    bool right = true;
    reader.for_each_step([&](const StepRecord& row) { right &= same(row, sample_row(run, step++), run); });
    CHECK(right);
    CHECK(step == reader.rows());
  }
  ::munmap(const_cast<std::int64_t*>(acknowledged), 4096);
}

TEST_CASE("a process that exits without closing leaves its rows", "[run_file]") {
  TemporaryDirectory directory;
  const Run run = sample_run();
  const pid_t child = ::fork();
  if (child == 0) {
    auto* writer = new RunWriter(directory / "run.h5", run);
    for (std::int64_t step = 0; step < 100; ++step) writer->append(run, sample_row(run, step));
    std::exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  const RunReader reader(directory / "run.h5");
  CHECK(reader.rows() == 100);
  CHECK(reader.state() == RunState::kUnfinished);
}

TEST_CASE("a child forked off a recording process does not touch its file", "[run_file]") {
  TemporaryDirectory directory;
  const Run run = sample_run();
  const pid_t recorder = ::fork();
  if (recorder == 0) {
    RunWriter writer(directory / "run.h5", run);
    for (std::int64_t step = 0; step < 50; ++step) writer.append(run, sample_row(run, step));
    writer.flush();
    const pid_t child = ::fork();
    if (child == 0) {
      writer.append(run, sample_row(run, 99));
      writer.flush();
      std::exit(writer.status().state == WriterState::kFailed ? 3 : 4);
    }
    for (std::int64_t step = 50; step < 90; ++step) writer.append(run, sample_row(run, step));
    writer.flush();
    int status = 0;
    ::waitpid(child, &status, 0);
    writer.close();
    ::_exit(WEXITSTATUS(status));
  }
  int status = 0;
  ::waitpid(recorder, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 3);
  const RunReader reader(directory / "run.h5");
  CHECK(reader.state() == RunState::kFinished);
  CHECK(reader.rows() == 90);
}

TEST_CASE("what nobody records takes no room, and reads as not recorded", "[run_file]") {
  TemporaryDirectory directory;
  Run run;
  for (int i = 0; i < 100; ++i)
    run.of(Axis::kParameter).push_back({"w" + std::to_string(i), "", "weight", "", "float32", 1});
  std::vector<StepRecord> written;
  RunWriter writer(directory / "run.h5", run);
  for (std::int64_t step = 0; step < 1500; ++step) {
    StepRecord row;
    row.step = step;
    // Some always, some in a stretch of the run, which begins and ends within a chunk.
    for (std::size_t i = 0; i < 100; ++i) row.set(Quantity::kGradientNorm, i, static_cast<double>(step + 1));
    for (std::size_t i = 0; i < 100 && step >= 700 && step < 900; ++i) row.set(Quantity::kWeightNorm, i, 2);
    if (step >= 1400) row.set(Quantity::kCurvature, 3);
    written.push_back(row);
    writer.append(run, row);
    if (step % 50 == 49) writer.flush();
  }
  writer.close();
  // Nine quantities have a column for every parameter: 600 kB each.
  CHECK(std::filesystem::file_size(directory / "run.h5") < 1'500'000);
  const RunReader reader(directory / "run.h5");
  const std::vector<StepRecord> rows = read_all(reader);
  REQUIRE(rows.size() == written.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    REQUIRE(same(rows[i], written[i], run));
    REQUIRE(rows[i].values(Quantity::kUpdateRatio).empty());
  }
  CHECK(std::isnan(rows[1499].at(Quantity::kWeightNorm)));  // Of another row it was recorded.
  CHECK(std::isnan(rows[0].at(Quantity::kCurvature)));
}

TEST_CASE("of rows that are written together, those without a quantity take none of its room", "[run_file]") {
  TemporaryDirectory directory;
  Run run;
  for (int i = 0; i < 100; ++i)
    run.of(Axis::kParameter).push_back({"w" + std::to_string(i), "", "weight", "", "float32", 1});
  const auto bytes = [&](const std::string& name, std::int64_t recorded) {
    RunWriter writer(directory / name, run);
    for (std::int64_t step = 0; step < 1000; ++step) {
      StepRecord row;
      row.step = step;
      for (std::size_t i = 0; i < 100 && step == recorded; ++i) row.set(Quantity::kWeightNorm, i, 5);
      writer.append(run, row);
    }
    writer.close();
    return std::filesystem::file_size(directory / name);
  };
  // A chunk has 128 rows of 400 bytes.
  CHECK(bytes("one.h5", 500) - bytes("none.h5", -1) < 2 * 128 * 400);
  const std::vector<StepRecord> rows = read_all(RunReader(directory / "one.h5"));
  REQUIRE(rows.size() == 1000);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    const double last = rows[i].at(Quantity::kWeightNorm, 99);
    CHECK((i == 500 ? last == 5 : std::isnan(last)));
  }
}
