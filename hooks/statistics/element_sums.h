#pragma once

#include <cstdint>

namespace gradhealth::hooks {

/// Sums over the elements of an array. One NaN makes `sum` and `sum_squares` NaN.
struct ElementSums {
  std::int64_t count = 0;
  double sum = 0;  ///< NaN where only magnitudes were asked for.
  double sum_squares = 0;
  double max_abs = 0;  ///< Infinite if an element is; NaN elements are passed over.
  std::int64_t zeros = 0;
  std::int64_t nonfinite = 0;

  ElementSums& operator+=(const ElementSums& other);
  double norm() const;
  double rms() const;   ///< NaN of nothing.
  double mean() const;  ///< NaN of nothing.
  /// Population standard deviation. A mean of m standard deviations costs about 1e-16·m² of relative accuracy.
  double std() const;
};

/// Memory layouts of at::Half and at::BFloat16, which this part does not know.
struct Half {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

/// One pass over contiguous memory of float, double, Half or BFloat16. Counts and `max_abs` are exact. Relative errors
/// are below 2e-6 (typically 1e-7) for the norm, and for mean and standard deviation in units of the root mean square:
/// blocks of 2,048 elements are summed in float, and those whose mean outweighs their deviation, or whose squares leave
/// float's range, in double. Uses AVX2 where the machine has it; the last bits of the sums may differ between machines.
template <typename T>
ElementSums element_sums(const T* data, std::int64_t count);

/// The same without `sum`, which makes it as fast as reading the memory.
template <typename T>
ElementSums magnitude_sums(const T* data, std::int64_t count);

}  // namespace gradhealth::hooks
