#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "hooks/statistics/element_sums.h"
#include "hooks/statistics/feature_sums.h"
#include "hooks/statistics/readback.h"
#include "hooks/statistics/tensor_sums.h"

/// The sums of tensor_sums.h and feature_sums.h for tensors that are read later (Reading::kLater): computed on their
/// device by LibTorch's own operators, in double, without waiting for any of it.
///
/// An operator costs some 5 µs to start, whatever it works on: each function states how many it takes. Sums in float
/// over several tensors at once (_foreach_norm) would take fewer, but lose what is below 1e-19, and a vanishing
/// gradient is. Temporary memory is bounded: tensors are taken in pieces of 2 Mi elements.
namespace gradhealth::hooks {

enum class Detail : std::uint8_t {
  kSums,  ///< count, sum, sum_squares and nonfinite: 5 operators a piece.
  kAll,   ///< max_abs and zeros as well: 8 operators a piece.
};

/// Sums on their way.
struct LateSums {
  ReadbackSlot slot;
  std::int64_t count = 0;
  Detail detail = Detail::kAll;
};

LateSums late_sums(const at::Tensor& tensor, Detail detail, Readback& readback);
/// @pre the readback is ready. What `detail` left out is 0.
ElementSums sums_of(const LateSums& late, const Readback& readback);

/// One operator more than `late_sums`. Everything but `samples` and the number of units is unknown until `complete`.
ActivationSums late_activation_sums(const at::Tensor& tensor, Units units, Readback& readback);
void complete(ActivationSums& sums, const Readback& readback);

/// As `input_sums`, some 20 operators a piece, and up to three for the sample. The features are unknown until
/// `complete`.
InputSums late_input_sums(const at::Tensor& input, Units units, std::string kind, Readback& readback,
                          InputValues kept = InputValues::kSummed);
void complete(InputSums& sums, const Readback& readback);

/// A few numbers as they are, such as a loss; reduced precision is widened.
ReadbackSlot late_values(const at::Tensor& tensor, Readback& readback);

}  // namespace gradhealth::hooks
