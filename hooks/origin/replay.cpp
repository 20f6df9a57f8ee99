#include "hooks/origin/replay.h"

#include <algorithm>
#include <mutex>
#include <set>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/autograd.h>

namespace gradhealth::hooks {
namespace {

/// Puts random state and buffers back at the end of its scope.
class StateGuard {
 public:
  explicit StateGuard(const std::vector<at::Tensor>& buffers, RandomState random)
      : buffers_(buffers), random_(std::move(random)) {
    const at::NoGradGuard no_grad;
    for (const at::Tensor& buffer : buffers_) copies_.push_back(buffer.defined() ? buffer.clone() : buffer);
  }
  ~StateGuard() {
    try {
      random_.restore();
      const at::NoGradGuard no_grad;
      // Below autograd: a backward pass that the trainer has yet to run must not find its buffers changed.
      const at::AutoDispatchBelowADInplaceOrView unversioned;
      for (std::size_t i = 0; i < buffers_.size(); ++i)
        if (buffers_[i].defined()) buffers_[i].copy_(copies_[i]);
    } catch (...) {  // Copying between tensors of the same shape and type does not fail.
    }
  }
  StateGuard(const StateGuard&) = delete;
  StateGuard& operator=(const StateGuard&) = delete;

 private:
  std::vector<at::Tensor> buffers_;
  std::vector<at::Tensor> copies_;
  RandomState random_;
};

}  // namespace

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

Replay::Replay(std::vector<at::Tensor> parameters, std::vector<at::Tensor> buffers)
    : parameters_(std::move(parameters)), buffers_(std::move(buffers)) {}

void Replay::set(std::function<at::Tensor()> closure) {
  closure_ = std::move(closure);
  if (closure_) remember_random_state();
}

void Replay::remember_random_state() { random_ = RandomState::now(parameters_); }

void Replay::run(const std::function<void(const at::Tensor& loss)>& use) const {
  const StateGuard guard(buffers_, RandomState::now(parameters_));
  random_.restore();
  const at::AutoGradMode gradients(true);
  const at::RecordFunctionGuard observed(true);
  use(closure_());
}

void Replay::differentiate(const at::Tensor& loss) const {
  std::vector<at::Tensor> inputs;
  std::copy_if(parameters_.begin(), parameters_.end(), std::back_inserter(inputs),
               [](const at::Tensor& parameter) { return parameter.requires_grad(); });
  if (loss.requires_grad() && !inputs.empty())
    torch::autograd::grad({loss}, inputs, /*grad_outputs=*/{}, /*retain_graph=*/false, /*create_graph=*/false,
                          /*allow_unused=*/true);
}

}  // namespace gradhealth::hooks
