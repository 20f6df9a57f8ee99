#pragma once

#include <array>
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
  /// Lower median of the stretches between two fractions (0 … 1) of the series; NaN if there is none. Costs nothing
  /// when it was asked before and no stretch has been completed since.
  double level(double from, double to) const;

 private:
  struct Level {
    double from;
    double to;
    double value;
  };
  double median_between(double from, double to) const;

  std::vector<double> means_;
  mutable std::vector<double> scratch_;
  std::size_t used_ = 0;     ///< Complete stretches.
  std::size_t stride_ = 1;   ///< Values in a stretch.
  std::size_t pending_ = 0;  ///< Values in the stretch that is not complete yet.
  double pending_mean_ = 0;
  mutable std::array<Level, 4> known_{};  ///< Answers that still hold, the first `known_count_`.
  mutable std::size_t known_count_ = 0;
  std::size_t count_ = 0;
};

}  // namespace gradhealth::stats
