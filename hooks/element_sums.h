#pragma once

#include <cstdint>

namespace gradhealth::hooks {

/// Sums over the elements of an array, in double. One NaN makes `sum` and `sum_squares` NaN.
struct ElementSums {
  std::int64_t count = 0;
  double sum = 0;
  double sum_squares = 0;
  double max_abs = 0;  ///< Infinite if an element is; NaN elements are passed over.
  std::int64_t zeros = 0;
  std::int64_t nonfinite = 0;

  ElementSums& operator+=(const ElementSums& other);
  double norm() const;
  double rms() const;   ///< NaN of nothing.
  double mean() const;  ///< NaN of nothing.
  /// Population standard deviation. Sums are in double, so a mean of m standard deviations costs about
  /// 1e-16·m² of relative accuracy.
  double std() const;
};

/// One pass over contiguous memory. Uses AVX2 where the machine has it; the result may differ between machines in the
/// last bits of the sums.
ElementSums element_sums(const float* data, std::int64_t count);
ElementSums element_sums(const double* data, std::int64_t count);

/// The same, and marks in `active[j]` the columns of a [rows × columns] array that are not zero in some row.
ElementSums element_sums_by_column(const float* data, std::int64_t rows, std::int64_t columns, std::uint8_t* active);
ElementSums element_sums_by_column(const double* data, std::int64_t rows, std::int64_t columns, std::uint8_t* active);

}  // namespace gradhealth::hooks
