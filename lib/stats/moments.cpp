#include "stats/moments.h"

#include <cmath>
#include <limits>

namespace gradhealth::stats {

void Moments::add_group(double weight, double mean, double deviation) {
  if (!std::isfinite(mean) || !std::isfinite(deviation) || !(weight > 0)) return;
  // Chan, Golub, LeVeque (1979): no cancellation, unlike the difference of Σx² and n·mean².
  const double total = weight_ + weight;
  const double distance = mean - mean_;
  mean_ += distance * weight / total;
  scatter_ += weight * deviation * deviation + distance * distance * weight_ * weight / total;
  weight_ = total;
}

double Moments::mean() const { return weight_ > 0 ? mean_ : std::numeric_limits<double>::quiet_NaN(); }

double Moments::variance() const { return weight_ > 0 ? scatter_ / weight_ : std::numeric_limits<double>::quiet_NaN(); }

double Moments::deviation() const { return std::sqrt(variance()); }

double Moments::mean_square() const { return mean() * mean() + variance(); }

}  // namespace gradhealth::stats
