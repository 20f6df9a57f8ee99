#include "hooks/preflight/untouched.h"

#include <torch/nn/module.h>

namespace gradhealth::hooks {
namespace {

std::vector<at::Tensor> tensors_of(const ParameterList& parameters) {
  std::vector<at::Tensor> tensors;
  for (const WatchedParameter& parameter : parameters) tensors.push_back(parameter.tensor);
  return tensors;
}

std::vector<at::Tensor> state_of(const ParameterList& parameters, const NamedTensors& buffers) {
  std::vector<at::Tensor> tensors = tensors_of(parameters);
  for (const auto& [name, tensor] : buffers) tensors.push_back(tensor);
  return tensors;
}

}  // namespace

Untouched::Untouched(torch::nn::Module& model, const ParameterList& parameters, const NamedTensors& buffers)
    : parameters_(parameters), state_(state_of(parameters, buffers), RandomState::now(tensors_of(parameters))) {
  model.apply([this](torch::nn::Module& each) { modes_.emplace_back(&each, each.is_training()); });
  for (const WatchedParameter& parameter : parameters_) {
    gradients_.push_back(parameter.tensor.grad());
    parameter.tensor.mutable_grad() = at::Tensor();
  }
}

Untouched::~Untouched() {
  for (std::size_t i = 0; i < parameters_.size(); ++i) parameters_[i].tensor.mutable_grad() = gradients_[i];
  try {
    // train() sets the children too, which come after.
    for (const auto& [module, training] : modes_)
      if (module->is_training() != training) module->train(training);
  } catch (...) {  // Only a train() of the trainer's own could throw.
  }
}

}  // namespace gradhealth::hooks
