#include "hooks/interventions/learned_threshold.h"

#include <algorithm>
#include <cmath>

namespace gradhealth::hooks {
namespace {

constexpr std::size_t kFewSteps = 20;  ///< As for fix::clip_threshold.
constexpr std::size_t kMostSteps = 512;

}  // namespace

void LearnedThreshold::learn(double norm) {
  if (!std::isfinite(norm)) return;
  if (norms_.size() < kMostSteps) return norms_.push_back(norm);
  norms_[next_] = norm;
  next_ = (next_ + 1) % kMostSteps;
}

std::optional<double> LearnedThreshold::value() const {
  if (norms_.size() < kFewSteps) return std::nullopt;
  std::vector<double> sorted = norms_;
  const auto place = static_cast<std::ptrdiff_t>(std::ceil(percentile_ * static_cast<double>(sorted.size()))) - 1;
  std::nth_element(sorted.begin(), sorted.begin() + place, sorted.end());
  return sorted[static_cast<std::size_t>(place)];
}

}  // namespace gradhealth::hooks
