#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "hooks/statistics/extremes.h"

namespace gradhealth::hooks {

/// The extremes of one tensor, and what it looked like: the tensor itself is not kept.
struct TensorExtremes {
  std::vector<std::int64_t> sizes;
  at::ScalarType dtype = at::kFloat;
  Extremes values;

  bool bad() const { return values.nonfinite > 0; }
};

/// Whether `tensor_extremes` can read it: defined, floating point, with memory or sparse.
bool has_extremes(const at::Tensor& tensor);

/// Of any device: elsewhere than on the CPU it waits for the device.
TensorExtremes tensor_extremes(const at::Tensor& tensor);

/// The same by tensor operators, which work on every device. `tensor_extremes` chooses it where there is no kernel.
Extremes extremes_by_operators(const at::Tensor& tensor);

/// Where the first non-finite element lies: index in the first dimension, and position within what that selects. A
/// tensor without dimensions is one sample; {-1, -1} if all elements are finite.
std::pair<std::int64_t, std::int64_t> first_nonfinite(const at::Tensor& tensor);

/// "64x10:float32:0:1.5:3:1:640": shape, type, smallest and largest finite element, non-finite elements, NaN among
/// them, elements. The shape of a tensor without dimensions is "scalar"; a range without finite elements is "-:-".
std::string text(const TensorExtremes& tensor);

}  // namespace gradhealth::hooks
