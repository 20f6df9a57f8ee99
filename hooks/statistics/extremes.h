#pragma once

#include <cstdint>
#include <limits>

namespace gradhealth::hooks {

/// The range of the finite elements of an array, and how many others there are.
struct Extremes {
  std::int64_t count = 0;
  std::int64_t nonfinite = 0;
  std::int64_t nan = 0;                                   ///< Of the non-finite ones.
  double min = std::numeric_limits<double>::infinity();   ///< Over finite elements; infinite where there is none.
  double max = -std::numeric_limits<double>::infinity();  ///< The same; minus infinity where there is none.
};

/// One pass over contiguous memory, a second one where it holds non-finite elements.
Extremes extremes(const float* data, std::int64_t count);
Extremes extremes(const double* data, std::int64_t count);

}  // namespace gradhealth::hooks
