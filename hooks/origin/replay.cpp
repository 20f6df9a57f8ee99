#include "hooks/origin/replay.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/autograd.h>

namespace gradhealth::hooks {

Replay::Replay(std::vector<at::Tensor> parameters, std::vector<at::Tensor> buffers)
    : parameters_(std::move(parameters)), buffers_(std::move(buffers)) {}

void Replay::set(std::function<at::Tensor()> closure) {
  closure_ = std::move(closure);
  if (!closure_) return;
  remember_random_state();
  dispatch_ = c10::impl::tls_local_dispatch_key_set();
}

void Replay::remember_random_state() { random_ = RandomState::now(parameters_); }

void Replay::run(const std::function<void(const at::Tensor& loss)>& use) const {
  const StateGuard guard(buffers_, RandomState::now(parameters_));
  random_.restore();
  const c10::impl::ForceDispatchKeyGuard outside(dispatch_);
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
