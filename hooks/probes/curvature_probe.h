#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace gradhealth::hooks {

/// Largest eigenvalue of the Hessian of a scalar loss by those of `parameters` that require a gradient and that the
/// loss depends on, from Hessian-vector products on the loss's live graph; negative at a maximum. Gradients that the
/// parameters hold stay as they are. Nothing if the loss depends on none of them, or its derivatives are not finite.
/// @param iterations each costs about four backward passes.
/// @throws what the engine throws, for one where an operator cannot be differentiated twice.
std::optional<double> largest_curvature(const at::Tensor& loss, const std::vector<at::Tensor>& parameters,
                                        int iterations, std::uint64_t seed);

}  // namespace gradhealth::hooks
