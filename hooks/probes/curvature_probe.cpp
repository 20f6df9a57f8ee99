#include "hooks/probes/curvature_probe.h"

#include <utility>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include "hooks/probes/jacobian_probe.h"
#include "hooks/probes/lanczos.h"

namespace gradhealth::hooks {
namespace {

constexpr bool kKeepGraph = true;
constexpr bool kAllowUnused = true;

}  // namespace

std::optional<double> largest_curvature(const at::Tensor& loss, const std::vector<at::Tensor>& parameters,
                                        int iterations, std::uint64_t seed) {
  TensorList trainable;
  for (const at::Tensor& parameter : parameters)
    if (parameter.requires_grad() && parameter.is_leaf()) trainable.push_back(parameter);
  if (trainable.empty()) return std::nullopt;
  const TensorList all =
      torch::autograd::grad({loss}, trainable, {}, kKeepGraph, true /* create_graph */, kAllowUnused);
  TensorList used;
  TensorList gradients;
  TensorList start;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!all[i].defined()) continue;
    used.push_back(trainable[i]);
    start.push_back(normal_like(trainable[i], seed + i));
    gradients.push_back(all[i]);
  }
  if (used.empty()) return std::nullopt;
  const SymmetricOperator hessian = [&](const TensorList& direction) -> TensorList {
    TensorList outputs;
    TensorList along;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (!gradients[i].requires_grad()) continue;  // The loss is linear in this parameter.
      outputs.push_back(gradients[i]);
      along.push_back(direction[i]);
    }
    if (outputs.empty()) return TensorList(used.size());
    return torch::autograd::grad(outputs, used, along, kKeepGraph, false /* create_graph */, kAllowUnused);
  };
  return largest_eigenvalue(hessian, std::move(start), iterations);
}

}  // namespace gradhealth::hooks
