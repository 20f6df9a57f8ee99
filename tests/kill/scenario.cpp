#include "kill/scenario.h"

#include <algorithm>
#include <exception>
#include <string>
#include <vector>

#include <gradhealth/run_file.h>

#include "run_file/sample_run.h"

namespace gradhealth::test {
namespace {

constexpr std::int64_t kColumnsPerCommit = 40;

std::int64_t activations_at(std::int64_t step) {
  if (step < kRowsBeforeColumns) return 2;
  return 2 + kColumnsPerCommit * ((step - kRowsBeforeColumns) / rows_of_commit(step) + 1);
}

bool is_last_of_commit(int part, std::int64_t row) {
  const std::int64_t end = part == 1 ? kFirstPartRows : kSecondPartRows;
  std::int64_t first = 0;
  while (first + rows_of_commit(first) <= row) first += rows_of_commit(first);
  return row + 1 == std::min(first + rows_of_commit(first), end);
}

}  // namespace

Run scenario_run(int part, std::int64_t step) {
  Run run = sample_run();
  if (part == 2) {
    run.info.first_step = kSecondPartFirstStep;
    run.info.continues = "run.h5";
  }
  run.of(Axis::kFeature).push_back({"channel 0", "", "conv2d", "8x1x8x8", "float32", 64});
  const std::int64_t activations = part == 1 ? activations_at(step) : 2;
  for (std::int64_t i = 0; i < activations; ++i)
    run.of(Axis::kActivation).push_back({"layer" + std::to_string(i), "layer", "linear", "8x4", "float32", 4});
  return run;
}

Event scenario_event(std::int64_t step) { return {step, "schedule", "", "said with step " + std::to_string(step)}; }

std::int64_t rows_of_commit(std::int64_t row) { return row < kRowsBeforeColumns ? 5 : 3; }

StepRecord scenario_row(const Run& run, std::int64_t step, bool last_of_commit) {
  StepRecord row = sample_row(run, step);
  if (last_of_commit) row.events.push_back(scenario_event(step));
  return row;
}

std::string complaint(const std::filesystem::path& file, int part, std::int64_t acknowledged) try {
  const RunReader reader(file);
  if (reader.rows() < acknowledged)
    return "has " + std::to_string(reader.rows()) + " of " + std::to_string(acknowledged) + " acknowledged rows";
  std::int64_t row = 0;
  std::string wrong;
  const std::int64_t first_step = part == 2 ? kSecondPartFirstStep : 0;
  reader.for_each_step([&](const StepRecord& record) {
    const Run run = scenario_run(part, row);
    const bool has_names = reader.run().of(Axis::kActivation).size() >= run.of(Axis::kActivation).size() &&
                           reader.run().of(Axis::kActivation)[run.of(Axis::kActivation).size() - 1].name ==
                               run.of(Axis::kActivation).back().name;
    const StepRecord expected = scenario_row(run, first_step + row, is_last_of_commit(part, row));
    if (wrong.empty() && !has_names) wrong = "lacks subjects of row " + std::to_string(row);
    if (wrong.empty() && !same(record, expected, run)) wrong = "has another row " + std::to_string(row);
    ++row;
  });
  if (wrong.empty() && row != reader.rows()) wrong = "shows " + std::to_string(row) + " rows and promises others";
  if (part == 2 && reader.run().info.continues != "run.h5") wrong = "does not say what it continues";
  return wrong;
} catch (const std::exception& error) {
  return error.what();
}

}  // namespace gradhealth::test
