#include "hooks/probes/jacobian_probe.h"

#include <cmath>
#include <limits>
#include <optional>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/csrc/autograd/function.h>

#include "hooks/probes/lanczos.h"
#include "hooks/statistics/tensor_sums.h"

namespace gradhealth::hooks {
namespace {

using torch::autograd::Edge;
using torch::autograd::Engine;

constexpr bool kKeepGraph = true;
constexpr bool kAccumulate = true;

}  // namespace

std::vector<at::Tensor> pull_back(const Edge& root, const at::Tensor& cotangent, const std::vector<Edge>& at) {
  constexpr bool kCreateGraph = false;
  return Engine::get_default_engine().execute({root}, {cotangent}, kKeepGraph, kCreateGraph, !kAccumulate, at);
}

std::vector<double> squared_norms(const std::vector<at::Tensor>& tensors) {
  std::vector<double> squares(tensors.size(), std::numeric_limits<double>::quiet_NaN());
  std::vector<at::Tensor> on_device;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (readable(tensors[i]))
      squares[i] = tensor_sums(tensors[i]).sum_squares;
    else if (tensors[i].defined())
      on_device.push_back(tensors[i].to(at::kFloat).square().sum(at::kDouble).reshape({}));
  }
  if (on_device.empty()) return squares;
  const at::Tensor read = at::stack(on_device).to(at::kCPU);
  std::size_t next = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i)
    if (tensors[i].defined() && !readable(tensors[i])) squares[i] = read.data_ptr<double>()[next++];
  return squares;
}

at::Tensor normal_like(const at::Tensor& like, std::uint64_t seed) {
  const at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  return at::randn(like.sizes(), generator, at::TensorOptions().dtype(at::kFloat)).to(like.options());
}

at::Tensor zeros_at(const Edge& edge) { return edge.function->input_metadata(edge.input_nr).zeros_like(); }

double largest_singular_value(const Edge& output, const Edge& input, int iterations, std::uint64_t seed) {
  // Jᵀw as a graph that is linear in w: its own backward pass is a product with J.
  const at::Tensor w = zeros_at(output).requires_grad_();
  const at::Tensor linear = Engine::get_default_engine().execute({output}, {w}, kKeepGraph, true /* create_graph */,
                                                                 !kAccumulate, {input})[0];
  if (!linear.defined()) return std::numeric_limits<double>::quiet_NaN();
  const SymmetricOperator gram = [&](const TensorList& x) -> TensorList {
    const at::Tensor forward =
        torch::autograd::grad({linear}, {w}, {x[0]}, kKeepGraph, false /* create_graph */, true /* allow_unused */)[0];
    if (!forward.defined()) return {at::Tensor()};
    return pull_back(output, forward, {input});
  };
  const std::optional<double> square = largest_eigenvalue(gram, {normal_like(linear, seed)}, iterations);
  return square ? std::sqrt(std::max(*square, 0.0)) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace gradhealth::hooks
