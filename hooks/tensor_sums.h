#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "hooks/element_sums.h"

namespace gradhealth::hooks {

/// Whether `tensor_sums` can read it: defined, floating point, on the CPU.
bool readable(const at::Tensor& tensor);

/// Sums over all elements of a readable tensor, dense or sparse, whatever its strides. Reduced precision is widened to
/// float. Copies only tensors with gaps between their elements.
ElementSums tensor_sums(const at::Tensor& tensor);

/// Which of a tensor's dimensions counts its units: a channel of an image is one unit, a column of a matrix another.
enum class Units : std::uint8_t {
  kLastDimension,
  kChannels,  ///< Dimension 1.
};

struct ActivationSums {
  ElementSums elements;
  std::vector<std::uint8_t> active;  ///< By unit: 1 if any sample made it non-zero.
  std::int64_t samples = 0;          ///< Values seen of each unit; positions within one image count once.
};

/// Sums of a readable tensor of at least one dimension.
ActivationSums activation_sums(const at::Tensor& tensor, Units units);

std::string shape_text(const at::Tensor& tensor);  ///< "64x10".
std::string dtype_text(at::ScalarType type);        ///< "float32".
std::string dtype_text(const at::Tensor& tensor);  ///< "float32".

}  // namespace gradhealth::hooks
