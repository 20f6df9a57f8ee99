#include "hooks/origin/state_guard.h"

#include <mutex>
#include <set>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>

namespace gradhealth::hooks {

RandomState RandomState::now(const std::vector<at::Tensor>& tensors) {
  std::set<at::DeviceIndex> devices;
  for (const at::Tensor& tensor : tensors)
    if (tensor.is_cuda()) devices.insert(tensor.device().index());
  std::vector<at::Generator> generators{at::detail::getDefaultCPUGenerator()};
  for (const at::DeviceIndex index : devices)
    generators.push_back(at::globalContext().defaultGenerator(at::Device(at::kCUDA, index)));
  RandomState state;
  for (at::Generator& generator : generators) {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    state.states_.emplace_back(generator, generator.get_state());
  }
  return state;
}

void RandomState::restore() const {
  for (const auto& [generator, state] : states_) {
    at::Generator target = generator;
    const std::lock_guard<std::mutex> lock(target.mutex());
    target.set_state(state);
  }
}

StateGuard::StateGuard(const std::vector<at::Tensor>& tensors, RandomState random)
    : tensors_(tensors), random_(std::move(random)) {
  const at::NoGradGuard no_grad;
  for (const at::Tensor& tensor : tensors_) copies_.push_back(tensor.defined() ? tensor.clone() : tensor);
}

StateGuard::~StateGuard() {
  try {
    random_.restore();
    const at::NoGradGuard no_grad;
    // Below autograd: a backward pass that the trainer has yet to run must not find its tensors changed.
    const at::AutoDispatchBelowADInplaceOrView unversioned;
    for (std::size_t i = 0; i < tensors_.size(); ++i)
      if (tensors_[i].defined()) tensors_[i].copy_(copies_[i]);
  } catch (...) {  // Copying between tensors of the same shape and type does not fail.
  }
}

}  // namespace gradhealth::hooks
