#include "hooks/steps/schedule.h"

#include <algorithm>

namespace gradhealth::hooks {
namespace {

constexpr std::int64_t kInterval = 10;
// From here on the interval grows with the run: a week of training leaves a file that can still be handled.
constexpr std::int64_t kGrowingFrom = 10'000;
constexpr std::int64_t kMostInterval = 100;
constexpr std::int64_t kMostFactor = 1024;
constexpr double kSmoothing = 0.2;
constexpr std::int64_t kSearchSteps = 500;  ///< An epoch of a small data set.
// What recording does to the caches shows in the training, not in the monitor's own time: of models whose step takes
// tens of milliseconds, bench_overhead finds up to half as much again as the monitor measures, give or take several per
// cent.
constexpr double kCostPerMeasured = 2;

}  // namespace

Schedule::Schedule(const ScheduleOptions& options)
    : options_(options), exact_until_(options.first_step + kDenseStart) {}

std::int64_t Schedule::common_interval(std::int64_t step) const {
  if (options_.every != 0) return options_.every;
  std::int64_t interval = kInterval;
  for (std::int64_t from = kGrowingFrom; step >= from && interval < kMostInterval; from *= 2) interval *= 2;
  return interval > kMostInterval ? kMostInterval : interval;
}

std::int64_t Schedule::interval(std::int64_t step) const {
  return common_interval(step) * (options_.every == 0 ? cost_factor_ : 1) * size_factor_;
}

bool Schedule::is_common(std::int64_t step) const {
  if (options_.every == 0 && step - options_.first_step < kDenseStart) return true;
  return step % common_interval(step) == 0;
}

bool Schedule::records(std::int64_t step) const {
  if (options_.every == 0 && step - options_.first_step < kDenseStart) return true;
  if (step < dense_until_) return true;
  return step % interval(step) == 0;
}

bool Schedule::observe_cost(std::int64_t step, double own_seconds, double step_seconds) {
  const bool first = mean_step_ == 0;
  mean_own_ += (first ? 1 : kSmoothing) * (own_seconds - mean_own_);
  mean_step_ += (first ? 1 : kSmoothing) * (step_seconds - mean_step_);
  if (options_.every != 0 || options_.budget <= 0 || step - options_.first_step < kDenseStart) return false;
  const double recorded = step == skipped_step_ || step == skipped_step_ + 1 ? 2 : 1;
  const double share = kCostPerMeasured * recorded * mean_own_ / (mean_step_ * static_cast<double>(interval(step)));
  if (share <= options_.budget || cost_factor_ >= kMostFactor) return false;
  cost_factor_ *= 2;
  return true;
}

bool Schedule::observe_bytes(std::size_t bytes) {
  if (options_.max_bytes == 0) return false;
  // Half of what is left, at half the rate: the limit is approached, never reached.
  const std::size_t left = bytes < options_.max_bytes ? options_.max_bytes - bytes : 0;
  bool changed = false;
  while (size_factor_ < kMostFactor * kMostFactor &&
         left < options_.max_bytes / static_cast<std::size_t>(2 * size_factor_)) {
    size_factor_ *= 2;
    changed = true;
  }
  return changed;
}

bool Schedule::exact(std::int64_t step) const { return options_.always_exact || step < exact_until_; }

void Schedule::suspect(std::int64_t step) {
  // With a fixed interval, the next ten recorded steps.
  exact_until_ = std::max(exact_until_, step + 1 + kSuspicionSteps * std::max<std::int64_t>(options_.every, 1));
  if (options_.every != 0 || step < next_suspicion_) return;
  dense_until_ = step + 1 + kSuspicionSteps;
  next_suspicion_ = step + kSuspicionPause;
}

void Schedule::note_skipped_update(std::int64_t step) {
  if (options_.every != 0) return;
  skipped_step_ = step;
  dense_until_ = std::max(dense_until_, step + 2);
}

void Schedule::search(std::int64_t step) {
  if (options_.every != 0 || searched_) return;
  searched_ = true;
  dense_until_ = std::max(dense_until_, step + 1 + kSearchSteps);
}

}  // namespace gradhealth::hooks
