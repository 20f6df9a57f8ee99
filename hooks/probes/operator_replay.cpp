#include "hooks/probes/operator_replay.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/autograd.h>

namespace gradhealth::hooks {
namespace {

constexpr std::array<std::string_view, 12> kReplayed{
    "addmm",       "bmm",    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "convolution", "linear", "matmul", "mm"};

}  // namespace

bool can_replay(std::string_view op) { return std::binary_search(kReplayed.begin(), kReplayed.end(), op); }

OperatorReplay::OperatorReplay(c10::OperatorName name, std::vector<c10::IValue> arguments, std::size_t input)
    : name_(std::move(name)),
      arguments_(std::move(arguments)),
      index_(input),
      input_(arguments_[input].toTensor().detach()) {
  for (c10::IValue& argument : arguments_)  // Keeps memory alive, but no graph.
    if (argument.isTensor() && argument.toTensor().defined()) argument = argument.toTensor().detach();
}

at::Tensor OperatorReplay::pull_back(const at::Tensor& cotangent, std::int64_t stride) const {
  const auto samples = [&](const at::Tensor& batch) { return batch.slice(0, 0, batch.size(0), stride).detach(); };
  const at::Tensor x = samples(input_).requires_grad_();
  torch::jit::Stack stack = arguments_;
  stack[index_] = x;
  const at::AutoGradMode differentiate(true);
  c10::Dispatcher::singleton().findSchemaOrThrow(name_.name.c_str(), name_.overload_name.c_str()).callBoxed(stack);
  return torch::autograd::grad({stack.at(0).toTensor()}, {x}, {samples(cotangent)})[0];
}

}  // namespace gradhealth::hooks
