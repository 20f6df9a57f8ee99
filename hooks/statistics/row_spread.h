#pragma once

#include <optional>

#include <ATen/core/Tensor.h>

namespace gradhealth::hooks {

/// Root mean square of the rows' differences from their mean over the root mean square of all elements; a row is all
/// that shares the first index. Exactly 0 if all rows are the same. Nothing of a tensor that is not readable, has fewer
/// than two dimensions or rows, is all zero or not finite, or has more than 4 Mi elements.
/// @param sum_squares of all elements.
std::optional<double> row_spread(const at::Tensor& weight, double sum_squares);

}  // namespace gradhealth::hooks
