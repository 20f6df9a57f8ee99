#include "stats/robust.h"

#include <algorithm>
#include <limits>

namespace gradhealth::stats {

double median_in_place(double* values, std::size_t count) {
  if (count == 0) return std::numeric_limits<double>::quiet_NaN();
  double* middle = values + (count - 1) / 2;
  std::nth_element(values, middle, values + count);
  return *middle;
}

}  // namespace gradhealth::stats
