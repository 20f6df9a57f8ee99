#include "hooks/preflight/judgement.h"

#include <cstddef>
#include <limits>

namespace gradhealth::hooks {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// A weight of zeros may get a gradient of zeros once, because what lies behind it starts at zero too: that it stays
/// so cannot be seen in one pass.
void forget_passing_zeros(StepRecord& row) {
  for (std::size_t i = 0; i < row.values(Quantity::kWeightNorm).size(); ++i)
    if (row.at(Quantity::kWeightNorm, i) == 0 && row.at(Quantity::kGradientNorm, i) == 0)
      row.set(Quantity::kGradientNorm, i, kNaN);
}

}  // namespace

Diagnosis judge(OnePass pass, Diagnoser diagnoser) {
  forget_passing_zeros(pass.row);
  const std::int64_t first = pass.row.step;
  for (std::int64_t step = 0; step < kShownSteps; ++step) {
    pass.row.step = first + step;
    diagnoser.observe(pass.run, pass.row);
    // Each event and the loss once: a loss that was seen again and again would stand still.
    pass.row.events.clear();
    pass.row.set(Quantity::kLoss, kNaN);
    pass.row.set(Quantity::kLossNonfinite, kNaN);
  }
  return diagnoser.diagnosis();
}

}  // namespace gradhealth::hooks
