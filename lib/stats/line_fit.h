#pragma once

#include <cstddef>

namespace gradhealth::stats {

/// Least-squares line through points that come one by one.
class LineFit {
 public:
  /// Points that are not finite are left out.
  void add(double x, double y);

  std::size_t count() const { return count_; }
  double slope() const;  ///< NaN with fewer than two different x.

 private:
  std::size_t count_ = 0;
  double mean_x_ = 0;
  double mean_y_ = 0;
  double scatter_x_ = 0;
  double scatter_xy_ = 0;
};

}  // namespace gradhealth::stats
