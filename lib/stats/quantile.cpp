#include "stats/quantile.h"

#include <cmath>

namespace gradhealth::stats {
namespace {

constexpr std::size_t kExact = 64;

}  // namespace

Quantile::Quantile(double probability)
    : probability_(probability), first_(kExact), estimator_(boost::accumulators::quantile_probability = probability) {}

void Quantile::push(double value) {
  if (!std::isfinite(value)) return;
  if (count_ < kExact) first_.push(value);
  estimator_(value);
  ++count_;
}

double Quantile::value() const {
  return count_ <= kExact ? first_.quantile(probability_) : boost::accumulators::p_square_quantile(estimator_);
}

}  // namespace gradhealth::stats
