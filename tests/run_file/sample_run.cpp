#include "run_file/sample_run.h"

#include <cmath>
#include <limits>

namespace gradhealth::test {

Run sample_run() {
  Run run;
  run.info.name = "G";
  run.info.created_utc = "2026-01-02T03:04:05Z";
  run.info.command_line = "./trainer --lr 0.1";
  run.info.optimizer = "SGD";
  run.info.momentum = 0.9;
  run.info.beta2 = 0.999;
  run.info.epsilon = 1e-8;
  run.info.loss_kind = "adversarial";
  run.of(Axis::kParameter) = {{"conv1.weight", "conv1", "weight", "4x1x3x3", "float32", 36},
                              {"conv1.bias", "conv1", "bias", "4", "float32", 4},
                              {"größe.weight", "größe", "weight", "2x4", "float64", 8}};
  return run;
}

StepRecord sample_row(const Run& run, std::int64_t step) {
  StepRecord row;
  row.step = step;
  row.wall_time = 0.25 * static_cast<double>(step);
  for (const QuantityInfo& quantity : quantities()) {
    const std::size_t subjects = quantity.axis == Axis::kRun ? 1 : run.of(quantity.axis).size();
    for (std::size_t i = 0; i < subjects; ++i) {
      const auto number = static_cast<double>(quantity.id);
      if ((step + static_cast<std::int64_t>(i)) % 7 == 3) continue;
      double value = number + 0.1 * static_cast<double>(i) + 1e-3 * static_cast<double>(step);
      if (step % 11 == 5) value = std::numeric_limits<double>::infinity();
      if (step % 13 == 5) value = -value * 1e-30;
      row.set(quantity.id, i, value);
    }
  }
  if (step % 10 == 4) row.events.push_back({step, "nonfinite-input", "channel 0", "sample 3"});
  return row;
}

bool same(const StepRecord& a, const StepRecord& b, const Run& run) {
  if (a.step != b.step || a.wall_time != b.wall_time || a.events.size() != b.events.size()) return false;
  for (std::size_t i = 0; i < a.events.size(); ++i)
    if (a.events[i].kind != b.events[i].kind || a.events[i].subject != b.events[i].subject ||
        a.events[i].text != b.events[i].text)
      return false;
  for (const QuantityInfo& quantity : quantities()) {
    const std::size_t subjects = quantity.axis == Axis::kRun ? 1 : run.of(quantity.axis).size();
    for (std::size_t i = 0; i < subjects; ++i) {
      const double x = a.at(quantity.id, i);
      const double y = b.at(quantity.id, i);
      if (!(x == y || (std::isnan(x) && std::isnan(y)))) return false;
    }
  }
  return true;
}

}  // namespace gradhealth::test
