#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/edge.h>

namespace gradhealth::hooks {

/// Jᵀ·cotangent for the Jacobians J of the value at `root` by the values at each of `at`, in one backward pass over a
/// live graph, which stays as it is. Undefined where `root` does not depend on a value. Values are what autograd knows
/// as the inputs of a node, so in-place operators that came later do not matter.
/// @throws what the engine throws, for one where the graph has been freed.
std::vector<at::Tensor> pull_back(const torch::autograd::Edge& root, const at::Tensor& cotangent,
                                  const std::vector<torch::autograd::Edge>& at);

/// Σx² of each tensor, NaN of an undefined one. Reads devices once for all tensors.
std::vector<double> squared_norms(const std::vector<at::Tensor>& tensors);

/// Standard normal values of the shape, type and device of `like`, a function of `seed` alone.
at::Tensor normal_like(const at::Tensor& like, std::uint64_t seed);

/// Zeros of the value at `edge`.
at::Tensor zeros_at(const torch::autograd::Edge& edge);

/// Largest singular value of the Jacobian of the value at `output` by the value at `input`; NaN if it does not depend
/// on it. Two products with the Jacobian an iteration, one of them through a second derivative.
/// @throws what the engine throws, for one where an operator between the two cannot be differentiated twice.
double largest_singular_value(const torch::autograd::Edge& output, const torch::autograd::Edge& input, int iterations,
                              std::uint64_t seed);

}  // namespace gradhealth::hooks
