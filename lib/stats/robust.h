#pragma once

#include <cstddef>

/// Location and scale that a few wild values do not move.
namespace gradhealth::stats {

/// Makes the median absolute deviation of normal noise its standard deviation.
inline constexpr double kMadToSigma = 1.4826;

/// The lower median of `count` finite values, which are reordered; NaN when there are none.
double median_in_place(double* values, std::size_t count);

}  // namespace gradhealth::stats
