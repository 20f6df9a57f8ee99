#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <ATen/core/Tensor.h>

#include "hooks/statistics/element_sums.h"
#include "hooks/statistics/readback.h"
#include "hooks/statistics/unit_sums.h"

namespace gradhealth::hooks {

/// Whether `tensor_sums` can read it: Reading::kNow.
bool readable(const at::Tensor& tensor);

/// Sums over all elements of a readable tensor, dense or sparse, whatever its strides and its precision. Copies only
/// tensors with gaps between their elements.
ElementSums tensor_sums(const at::Tensor& tensor);
/// The same without the sum of the elements, which is faster.
ElementSums gradient_sums(const at::Tensor& tensor);

/// Sums over about `elements` elements of a readable tensor, always the same ones; over all of one that is sparse or
/// not much larger.
ElementSums sampled_sums(const at::Tensor& tensor, std::int64_t elements);

/// Which of a tensor's dimensions counts its units: a channel of an image is one unit, a column of a matrix another.
enum class Units : std::uint8_t {
  kLastDimension,
  kChannels,  ///< Dimension 1.
};

/// Sums of a readable tensor of at least one dimension. Positions within one image count as one sample.
struct ActivationSums : UnitSums {
  ReadbackSlot late_elements;  ///< Of a tensor that is read later (device_sums.h).
  ReadbackSlot late_units;     ///< Non-zero values by unit.
};
ActivationSums activation_sums(const at::Tensor& tensor, Units units, const Sampling& sampling = {},
                               const Outside* outside = nullptr);

/// Of the bits of a readable tensor; nothing of one that is sparse or has gaps.
std::optional<std::uint64_t> checksum(const at::Tensor& tensor);

std::string shape_text(const at::Tensor& tensor);  ///< "64x10".
std::string dtype_text(at::ScalarType type);       ///< "float32".
std::string dtype_text(const at::Tensor& tensor);  ///< "float32".

}  // namespace gradhealth::hooks
