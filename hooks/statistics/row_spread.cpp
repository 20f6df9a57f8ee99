#include "hooks/statistics/row_spread.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "hooks/statistics/tensor_sums.h"

namespace gradhealth::hooks {
namespace {

constexpr std::int64_t kMostElements = std::int64_t{1} << 22;

template <typename T>
double spread(const T* data, std::int64_t rows, std::int64_t columns) {
  // Of differences from the first row: equal rows have none at all.
  std::vector<double> sums(static_cast<std::size_t>(columns));
  double squares = 0;
  double all_squares = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* values = data + row * columns;
    for (std::int64_t i = 0; i < columns; ++i) {
      const double value = static_cast<double>(values[i]);
      const double difference = value - static_cast<double>(data[i]);
      sums[static_cast<std::size_t>(i)] += difference;
      squares += difference * difference;
      all_squares += value * value;
    }
  }
  double of_means = 0;
  for (const double sum : sums) of_means += sum * sum / static_cast<double>(rows);
  return std::sqrt(std::max(squares - of_means, 0.0) / all_squares);
}

}  // namespace

std::optional<double> row_spread(const at::Tensor& weight) {
  if (!readable(weight) || weight.layout() != at::kStrided || weight.dim() < 2 || weight.size(0) < 2)
    return std::nullopt;
  if (weight.numel() == 0 || weight.numel() > kMostElements) return std::nullopt;
  const at::Tensor rows = weight.detach().contiguous();
  const std::int64_t columns = rows.numel() / rows.size(0);
  double ratio = 0;
  switch (rows.scalar_type()) {
    case at::kFloat: ratio = spread(rows.data_ptr<float>(), rows.size(0), columns); break;
    case at::kDouble: ratio = spread(rows.data_ptr<double>(), rows.size(0), columns); break;
    case at::kHalf: ratio = spread(rows.data_ptr<at::Half>(), rows.size(0), columns); break;
    case at::kBFloat16: ratio = spread(rows.data_ptr<at::BFloat16>(), rows.size(0), columns); break;
    default: return std::nullopt;
  }
  if (!std::isfinite(ratio)) return std::nullopt;
  return ratio;
}

}  // namespace gradhealth::hooks
