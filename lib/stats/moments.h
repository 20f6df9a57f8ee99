#pragma once

namespace gradhealth::stats {

/// Weighted mean and variance of everything seen, from values or from the moments of groups.
class Moments {
 public:
  void add(double value) { add_group(1, value, 0); }
  /// A group of `weight` values with this mean and (population) standard deviation. Groups that are not
  /// finite or have no weight are left out.
  void add_group(double weight, double mean, double deviation);

  double weight() const { return weight_; }
  double mean() const;      ///< NaN while empty.
  double variance() const;  ///< Population variance; NaN while empty.
  double deviation() const;
  double mean_square() const;

 private:
  double weight_ = 0;
  double mean_ = 0;
  double scatter_ = 0;  ///< Sum of weighted squared distances from the mean.
};

}  // namespace gradhealth::stats
