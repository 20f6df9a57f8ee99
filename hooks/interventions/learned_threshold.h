#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace gradhealth::hooks {

/// A percentile of the latest gradient norms of a run.
class LearnedThreshold {
 public:
  /// @param percentile above 0, up to 1.
  explicit LearnedThreshold(double percentile) : percentile_(percentile) {}

  /// A healthy step's norm, before clipping.
  void learn(double norm);
  /// Nothing before 20 norms.
  std::optional<double> value() const;

 private:
  double percentile_;
  std::vector<double> norms_;  ///< Of the latest steps.
  std::size_t next_ = 0;
};

}  // namespace gradhealth::hooks
