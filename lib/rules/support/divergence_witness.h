#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <gradhealth/run.h>

#include "stats/quantile.h"
#include "stats/window.h"

namespace gradhealth::rules {

/// What grows along with a loss that diverges: global gradient norm, weight norm, largest update ratio, each
/// against its own median over healthy steps. A step is healthy only when the caller says so.
class DivergenceWitness {
 public:
  explicit DivergenceWitness(double factor) : factor_(factor) {}

  void observe(const StepRecord& record);
  /// The step just observed was healthy.
  void take_baseline();
  /// The step just observed was not: it keeps the worst ratios.
  void keep_baseline();

  double factor() const { return factor_; }
  /// A witness of the step just observed is above `factor` times its healthy median.
  bool grew() const;
  /// Global gradient norm of the step just observed over its healthy median; NaN if unknown.
  double gradient_ratio() const { return ratio(gradient_); }
  /// The largest ratio of all unhealthy steps, 0 without any.
  double worst() const { return worst_; }
  std::string worst_name() const;
  bool worst_is(Quantity quantity) const { return worst_ > 0 && worst_of_ == quantity; }
  /// Its series, if it is a recorded one.
  std::optional<Quantity> worst_quantity() const;
  /// 95th percentile of the healthy gradient norms; absent with fewer than 5.
  std::optional<double> healthy_p95() const;

 private:
  struct Series {
    Quantity quantity;
    double now = 0;
    stats::Window healthy{64};
  };
  static double ratio(const Series& series);

  double factor_;
  Series gradient_{Quantity::kGlobalGradientNorm};
  Series weight_{Quantity::kWeightNorm};
  Series update_{Quantity::kUpdateRatio};
  stats::Quantile p95_{0.95};
  double worst_ = 0;
  Quantity worst_of_ = Quantity::kGlobalGradientNorm;
};

}  // namespace gradhealth::rules
