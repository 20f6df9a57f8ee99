#pragma once

#include <cstddef>
#include <vector>

namespace gradhealth::stats {

/// A whole series in bounded memory: means of ever longer stretches, all of one length.
class History {
 public:
  /// @param capacity even; the number of stretches kept is at least half of it once there are that many values.
  explicit History(std::size_t capacity);

  /// Values that are not finite are left out.
  void push(double value);
  std::size_t count() const { return count_; }
  /// Lower median of the stretches between two fractions (0 … 1) of the series; NaN if there is none.
  double level(double from, double to) const;

 private:
  std::vector<double> means_;
  mutable std::vector<double> scratch_;
  std::size_t used_ = 0;     ///< Complete stretches.
  std::size_t stride_ = 1;   ///< Values in a stretch.
  std::size_t pending_ = 0;  ///< Values in the stretch that is not complete yet.
  double pending_mean_ = 0;
  std::size_t count_ = 0;
};

}  // namespace gradhealth::stats
