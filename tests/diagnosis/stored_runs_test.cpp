#include <cmath>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gradhealth/diagnosis.h>
#include <gradhealth/report.h>
#include <gradhealth/run_file.h>

#include "support/catch.h"
#include "support/synthetic_run.h"
#include "support/temporary_directory.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

using Recorded = std::set<Quantity>;

/// What was recorded of it.
StepRecord part_of(const StepRecord& whole, const Recorded& recorded) {
  StepRecord part;
  part.step = whole.step;
  part.events = whole.events;
  for (const Quantity quantity : recorded)
    part.assign(quantity, whole.values(quantity).data(), whole.values(quantity).size());
  return part;
}

/// 160 records of a run that goes wrong halfway; every fifth holds the loss only.
std::vector<StepRecord> records_of(SyntheticRun& synthetic, const Recorded& recorded) {
  std::vector<StepRecord> records;
  for (std::size_t n = 0; n < 160; ++n) {
    StepRecord whole = synthetic.step(nth_step(n), learning(nth_step(n)));
    if (n > 80) whole.set(Quantity::kGradientNorm, 2, std::numeric_limits<double>::quiet_NaN());
    if (n > 80) whole.set(Quantity::kGradientNonfinite, 2, 5);
    if (n > 100) whole.set(Quantity::kUpdateRatio, 0, 0);
    records.push_back(part_of(whole, n % 5 == 4 ? Recorded{Quantity::kLoss} : recorded));
  }
  return records;
}

std::string json_of(const Run& run, const Diagnoser& diagnoser) {
  Report report;
  report.models.push_back({run, diagnoser.diagnosis(), {}, true, {}});
  std::ostringstream json;
  write_json(json, report);
  return json.str();
}

void check_same(const Recorded& recorded) {
  SyntheticRun synthetic;
  const TemporaryDirectory directory;
  Diagnoser live;
  RunWriter writer(directory / "run.h5", synthetic.run);
  for (const StepRecord& record : records_of(synthetic, recorded)) {
    live.observe(synthetic.run, record);
    writer.append(synthetic.run, record);
  }
  writer.close();
  const RunReader reader(directory / "run.h5");
  Diagnoser offline;
  reader.for_each_step([&](const StepRecord& record) { offline.observe(reader.run(), record); });
  CHECK(json_of(synthetic.run, offline) == json_of(synthetic.run, live));
}

}  // namespace

TEST_CASE("a stored run is judged as it was live, whatever of it was recorded", "[diagnosis]") {
  Recorded all;
  for (const QuantityInfo& quantity : quantities()) all.insert(quantity.id);
  check_same(all);
  check_same({});
  check_same({Quantity::kLoss, Quantity::kGradientNorm});
  for (const QuantityInfo& quantity : quantities()) {
    CAPTURE(std::string(quantity.name));
    Recorded without = all;
    without.erase(quantity.id);
    check_same(without);
    check_same({Quantity::kLoss, quantity.id});
  }
}
