#include "hooks/statistics/row_spread.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <ATen/ATen.h>

#include "hooks/statistics/tensor_sums.h"

namespace gradhealth::hooks {
namespace {

constexpr std::int64_t kMostElements = std::int64_t{1} << 22;

/// Columns at a time, so that their sums stay in the nearest cache.
constexpr std::int64_t kColumns = 512;

template <typename T>
double spread(const T* data, std::int64_t rows, std::int64_t columns, double all_squares) {
  double squares = 0;
  std::array<double, kColumns> sums;
  std::array<double, kColumns> sums_squares;
  for (std::int64_t begin = 0; begin < columns; begin += kColumns) {
    const std::int64_t count = std::min(kColumns, columns - begin);
    sums.fill(0);
    sums_squares.fill(0);
    for (std::int64_t row = 1; row < rows; ++row) {
      const T* values = data + row * columns + begin;
      for (std::int64_t i = 0; i < count; ++i) {
        // From the first row: equal rows have no differences at all.
        const double difference = static_cast<double>(values[i]) - static_cast<double>(data[begin + i]);
        sums[static_cast<std::size_t>(i)] += difference;
        sums_squares[static_cast<std::size_t>(i)] += difference * difference;
      }
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
      squares += std::max(sums_squares[i] - sums[i] * sums[i] / static_cast<double>(rows), 0.0);
  }
  return std::sqrt(squares / all_squares);
}

}  // namespace

std::optional<double> row_spread(const at::Tensor& weight, double sum_squares) {
  if (!readable(weight) || weight.layout() != at::kStrided || weight.dim() < 2 || weight.size(0) < 2)
    return std::nullopt;
  if (weight.numel() == 0 || weight.numel() > kMostElements) return std::nullopt;
  const at::Tensor rows = weight.detach().contiguous();
  const std::int64_t columns = rows.numel() / rows.size(0);
  double ratio = 0;
  switch (rows.scalar_type()) {
    case at::kFloat: ratio = spread(rows.data_ptr<float>(), rows.size(0), columns, sum_squares); break;
    case at::kDouble: ratio = spread(rows.data_ptr<double>(), rows.size(0), columns, sum_squares); break;
    case at::kHalf: ratio = spread(rows.data_ptr<at::Half>(), rows.size(0), columns, sum_squares); break;
    case at::kBFloat16: ratio = spread(rows.data_ptr<at::BFloat16>(), rows.size(0), columns, sum_squares); break;
    default: return std::nullopt;
  }
  if (!std::isfinite(ratio)) return std::nullopt;
  return ratio;
}

}  // namespace gradhealth::hooks
