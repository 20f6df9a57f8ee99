#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

#include "support/catch.h"
#include "support/temporary_directory.h"

using namespace gradhealth;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

bool same(double a, double b) { return std::isnan(a) ? std::isnan(b) : a == b; }

std::vector<StepRecord> read_all(const RunReader& reader) {
  std::vector<StepRecord> records;
  reader.for_each_step([&](const StepRecord& record) { records.push_back(record); });
  return records;
}

RunInfo some_info() {
  RunInfo info;
  info.name = "G";
  info.created_utc = "2026-01-02T03:04:05Z";
  info.command_line = "./train --lr 0.1 --name \u00e9t\u00e9";
  info.optimizer = "SGD";
  info.momentum = 0.9;
  return info;
}

}  // namespace

TEST_CASE("what was written is read back exactly", "[run_file]") {
  const TemporaryDirectory directory;
  Run run;
  run.info = some_info();
  run.of(Axis::kParameter) = {{"conv1.weight", "conv1", "weight", "16x1x3x3", "float32", 144},
                              {"conv1.bias", "conv1", "bias", "16", "float32", 16}};
  {
    RunWriter writer(directory / "run.h5", run.info);
    for (int i = 0; i < 1000; ++i) {
      if (i == 300) run.of(Axis::kActivation).push_back({"conv1:relu", "conv1", "relu", "8x16x26x26", "float32", 16});
      if (i == 700) run.of(Axis::kNamed).push_back({"val_loss", "", "", "", "", 1});
      StepRecord record;
      record.step = i * 3;
      record.wall_time = i * 0.1;
      record.set(Quantity::kLoss, i == 5 ? kNan : i == 6 ? -kInf : 1.0 / (i + 1));
      record.set(Quantity::kGradientNorm, 1, i == 7 ? kInf : i * 0.3);
      if (i >= 300 && i % 2 == 0) record.set(Quantity::kActivationMean, i * 1e-9);
      if (i >= 700) record.set(Quantity::kNamedValue, i * 1e-300);
      writer.append(run, record);
    }
    writer.close();
    const WriterStatus status = writer.status();
    CHECK(status.state == WriterState::kClosed);
    CHECK(status.committed_rows == 1000);
    CHECK(status.dropped_rows == 0);
    CHECK(status.error.empty());
  }
  const RunReader reader(directory / "run.h5");
  CHECK(reader.state() == RunState::kFinished);
  CHECK(reader.rows() == 1000);
  CHECK(reader.run().info.command_line == run.info.command_line);
  CHECK(reader.run().info.libraries.empty());
  CHECK(reader.run().info.momentum == 0.9);
  CHECK_FALSE(reader.run().info.weight_decay);
  REQUIRE(reader.run().of(Axis::kParameter).size() == 2);
  CHECK(reader.run().of(Axis::kParameter)[1].kind == "bias");
  CHECK(reader.run().of(Axis::kParameter)[0].size == 144);
  REQUIRE(reader.run().of(Axis::kActivation).size() == 1);
  CHECK(reader.run().of(Axis::kActivation)[0].name == "conv1:relu");
  REQUIRE(reader.run().of(Axis::kNamed).size() == 1);
  CHECK(reader.run().of(Axis::kFeature).empty());

  const std::vector<StepRecord> records = read_all(reader);
  REQUIRE(records.size() == 1000);
  bool exact = true;
  for (int i = 0; i < 1000; ++i) {
    const StepRecord& record = records[static_cast<std::size_t>(i)];
    StepRecord expected;
    expected.set(Quantity::kLoss, i == 5 ? kNan : i == 6 ? -kInf : 1.0 / (i + 1));
    expected.set(Quantity::kGradientNorm, 1, i == 7 ? kInf : i * 0.3);
    if (i >= 300 && i % 2 == 0) expected.set(Quantity::kActivationMean, i * 1e-9);
    if (i >= 700) expected.set(Quantity::kNamedValue, i * 1e-300);
    exact = exact && record.step == i * 3 && record.wall_time == i * 0.1;
    for (const QuantityInfo& quantity : quantities())
      for (std::size_t subject = 0; subject < 3; ++subject)
        exact = exact && same(record.at(quantity.id, subject), expected.at(quantity.id, subject));
  }
  CHECK(exact);
}

TEST_CASE("events come back with the step they belong to", "[run_file]") {
  const TemporaryDirectory directory;
  const Run run;
  RunWriter writer(directory / "run.h5", run.info);
  for (int i = 0; i < 3; ++i) {
    StepRecord record;
    record.step = i;
    if (i == 1) record.events = {{1, "finding", "conv1", "first"}, {1, "finding", "", "second"}};
    writer.append(run, record);
  }
  writer.append(Event{17, "monitor", "", "between recorded steps"});
  writer.close();

  const RunReader reader(directory / "run.h5");
  const std::vector<StepRecord> records = read_all(reader);
  REQUIRE(records.size() == 3);
  CHECK(records[0].events.empty());
  REQUIRE(records[1].events.size() == 2);
  CHECK(records[1].events[0].text == "first");
  CHECK(records[1].events[0].subject == "conv1");
  const std::vector<Event> events = reader.events();
  REQUIRE(events.size() == 3);
  CHECK(events[2].step == 17);
  CHECK(events[2].text == "between recorded steps");
}

TEST_CASE("a taken name is never overwritten", "[run_file]") {
  const TemporaryDirectory directory;
  const Run run;
  for (const char* expected : {"run.h5", "run-2.h5", "run-3.h5"}) {
    RunWriter writer(directory / "new/sub/run.h5", run.info);
    CHECK(writer.status().path == directory / "new/sub" / expected);
  }
  WriterOptions options;
  options.if_exists = IfExists::kError;
  CHECK_THROWS_AS(RunWriter(directory / "new/sub/run.h5", run.info, options), UsageError);
  CHECK(run_files(directory / "new/sub").size() == 3);
}
