#pragma once

#include <algorithm>  // Boost's P² algorithm sorts and does not include it.
#include <cstddef>

#include <boost/accumulators/accumulators.hpp>
#include <boost/accumulators/statistics/p_square_quantile.hpp>
#include <boost/accumulators/statistics/stats.hpp>

#include "stats/window.h"

namespace gradhealth::stats {

/// A quantile of an unbounded stream: exact for the first 64 values, then by the P² algorithm.
class Quantile {
 public:
  explicit Quantile(double probability);

  /// Values that are not finite are left out.
  void push(double value);
  std::size_t count() const { return count_; }
  double value() const;  ///< NaN while empty.

 private:
  using Estimator =
      boost::accumulators::accumulator_set<double,
                                           boost::accumulators::stats<boost::accumulators::tag::p_square_quantile>>;

  double probability_;
  Window first_;
  Estimator estimator_;
  std::size_t count_ = 0;
};

}  // namespace gradhealth::stats
