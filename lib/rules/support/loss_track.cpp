#include "rules/support/loss_track.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace gradhealth::rules {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kStartLosses = 5;  ///< The start is their median once there are that many.
constexpr double kFarther = 10;          ///< A single loss that rose this many times farther counts at once.
constexpr double kProgress = 0.1;        ///< Share of the start's size.
constexpr double kLearning = 0.3;        ///< Share of the level.
constexpr double kStill = 0.02;          ///< Share of the level.
constexpr double kSteady = 6;            ///< Deviations of the latest losses.

}  // namespace

LossTrack::LossTrack(double rise_factor)
    : rise_factor_(rise_factor), first_(kNone), start_(kNone), latest_(kNone), peak_(kNone) {}

double LossTrack::size() const { return std::max(std::abs(start_), 3 * noise_); }

void LossTrack::observe(const StepRecord& record) {
  const double loss = record.at(Quantity::kLoss);
  const bool nonfinite = record.at(Quantity::kLossNonfinite) > 0;
  latest_ = kNone;
  rises_now_ = false;
  if (nonfinite || std::isinf(loss)) {
    recorded_ = true;
    if (!nonfinite_step_) nonfinite_step_ = record.step;
    return;
  }
  if (std::isnan(loss)) return;
  recorded_ = true;
  latest_ = loss;
  if (history_.count() == 0) first_ = start_ = loss;
  history_.push(loss);
  recent_.push(loss);
  if (std::isnan(peak_) || loss > peak_) {
    peak_ = loss;
    peak_step_ = record.step;
  }

  const double rise = loss - start_;
  const double limit = (rise_factor_ - 1) * size();
  rises_now_ = rise > limit;
  if (rises_now_) {
    if (!first_risen_) first_risen_ = record.step;
    settled_.clear();
    ++risen_;
    far_ = far_ || rise > kFarther * limit;
    return;
  }
  if (first_risen_ && !settled_.full()) settled_.push(loss);
  if (early_.full()) return;
  early_.push(loss);
  if (early_.size() >= 3) noise_ = early_.sigma();
  if (early_.size() == kStartLosses) start_ = std::max(start_, early_.median());
}

std::optional<std::int64_t> LossTrack::risen_step() const { return risen_ >= 2 || far_ ? first_risen_ : std::nullopt; }

bool LossTrack::recovered() const {
  if (nonfinite_step_ || !settled_.full()) return false;
  const double level = settled_.median();
  return level - recent() > kLearning * std::min(std::abs(level), size()) && fell_by(kLearning);
}

bool LossTrack::fell_by(double share) const {
  if (count() == 0 || !(recent() < start_)) return false;
  const double fall = start_ - recent();
  // A wild start says nothing against a loss that has become small and steady.
  const bool steady = recent() >= 0 && fall > share * start_ && fall > kSteady * recent_.sigma();
  return fall > share * size() || steady;
}

bool LossTrack::makes_no_progress() const {
  if (count() < 8) return false;
  const double last = history_.level(0.75, 1);
  const double before = history_.level(0.5, 0.75);
  if (!(start_ - last < kProgress * size())) return false;
  // Above its start a loss swings, and a fall within that is none.
  const double still = std::max(kStill * std::abs(before), noise_ / 4);
  return before - last < (last > start_ ? std::max(still, kProgress * size()) : still);
}

}  // namespace gradhealth::rules
