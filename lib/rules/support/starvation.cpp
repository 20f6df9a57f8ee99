#include "rules/support/starvation.h"

#include <cmath>

namespace gradhealth::rules {
namespace {

constexpr std::size_t kLayers = 3;  ///< Fewer have no depth.

double ratio(double first, double other) {
  // Nothing arrives anywhere: the first layer gets no less than the others, and that is as starved as can be.
  return first == 0 ? 0 : first / other;
}

}  // namespace

Starvation::Starvation(const Limits& limits)
    : limits_(limits), last_(static_cast<std::size_t>(limits.steps)), median_(static_cast<std::size_t>(limits.steps)) {}

void Starvation::observe(const Run& run, const StepRecord& record) {
  layers_.update(run);
  loss_.observe(record);
  const double rate = record.at(Quantity::kLearningRate);
  const bool warming_up = rate_ && rate > *rate_;
  if (std::isfinite(rate)) rate_ = rate;
  profile_ = depth_profile(record, layers_, scratch_);
  if (profile_.layers < kLayers || warming_up) return;
  ++steps_;
  first_parameter_ = profile_.first->parameter;
  last_parameter_ = profile_.last->parameter;
  const double to_last = ratio(profile_.first_value, profile_.last_value);
  const double to_median = ratio(profile_.first_value, profile_.median);
  last_.push(to_last);
  median_.push(to_median);
  if (!(to_last < limits_.last_ratio && to_median < limits_.median_ratio)) {
    if (!(last_.median() < limits_.last_ratio)) since_.reset();
  } else if (!since_) {
    since_ = record.step;
  }
}

std::optional<std::int64_t> Starvation::since() const {
  if (!since_ || !last_.full()) return std::nullopt;
  if (!(last_.median() < limits_.last_ratio) || !(median_.median() < limits_.median_ratio)) return std::nullopt;
  return since_;
}

}  // namespace gradhealth::rules
