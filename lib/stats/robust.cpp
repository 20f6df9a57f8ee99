#include "stats/robust.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace gradhealth::stats {

double median_in_place(double* values, std::size_t count) {
  if (count == 0) return std::numeric_limits<double>::quiet_NaN();
  double* middle = values + (count - 1) / 2;
  std::nth_element(values, middle, values + count);
  return *middle;
}

double quantile_in_place(double* values, std::size_t count, double p) {
  if (count == 0) return std::numeric_limits<double>::quiet_NaN();
  const double position = p * static_cast<double>(count - 1);
  const auto below = static_cast<std::size_t>(std::floor(position));
  std::nth_element(values, values + below, values + count);
  const double low = values[below];
  if (below + 1 >= count) return low;
  const double high = *std::min_element(values + below + 1, values + count);
  return low + (position - static_cast<double>(below)) * (high - low);
}

}  // namespace gradhealth::stats
