#include "rules/support/divergence_witness.h"

#include <cmath>
#include <limits>

#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double norm_of(const std::vector<double>& norms) {
  double squares = 0;
  bool seen = false;
  for (const double norm : norms) {
    if (std::isnan(norm)) continue;
    squares += norm * norm;
    seen = true;
  }
  return seen ? std::sqrt(squares) : kNone;
}

/// Zero-initialised parameters have no norm to compare with, hence finite values only.
double largest(const std::vector<double>& values) {
  double most = kNone;
  for (const double value : values)
    if (std::isfinite(value) && !(value <= most)) most = value;
  return most;
}

}  // namespace

void DivergenceWitness::observe(const StepRecord& record) {
  gradient_.now = global_gradient_norm(record);
  weight_.now = norm_of(record.values(Quantity::kWeightNorm));
  update_.now = largest(record.values(Quantity::kUpdateRatio));
}

double DivergenceWitness::ratio(const Series& series) {
  const double healthy = series.healthy.median();
  return healthy > 0 ? series.now / healthy : kNone;
}

bool DivergenceWitness::grew() const {
  return ratio(gradient_) > factor_ || ratio(weight_) > factor_ || ratio(update_) > factor_;
}

void DivergenceWitness::take_baseline() {
  gradient_.healthy.push(gradient_.now);
  weight_.healthy.push(weight_.now);
  update_.healthy.push(update_.now);
  p95_.push(gradient_.now);
}

void DivergenceWitness::keep_baseline() {
  for (const Series* series : {&gradient_, &weight_, &update_}) {
    const double now = ratio(*series);
    if (!(now > worst_) || !std::isfinite(now)) continue;
    worst_ = now;
    worst_of_ = series->quantity;
  }
}

std::string DivergenceWitness::worst_name() const {
  if (worst_of_ == Quantity::kGlobalGradientNorm) return "the global gradient norm";
  if (worst_of_ == Quantity::kWeightNorm) return "the weight norm";
  return "the largest update ratio";
}

std::optional<Quantity> DivergenceWitness::worst_quantity() const {
  return worst_of_ == Quantity::kGlobalGradientNorm ? std::optional<Quantity>(worst_of_) : std::nullopt;
}

std::optional<double> DivergenceWitness::healthy_p95() const {
  return p95_.count() >= 5 ? std::optional<double>(p95_.value()) : std::nullopt;
}

}  // namespace gradhealth::rules
