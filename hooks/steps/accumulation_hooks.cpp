#include "hooks/steps/accumulation_hooks.h"

#include <utility>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>

namespace gradhealth::hooks {
namespace {

class Hook : public torch::autograd::FunctionPostHook {
 public:
  explicit Hook(std::weak_ptr<const std::function<void()>> accumulated) : accumulated_(std::move(accumulated)) {}

  torch::autograd::variable_list operator()(const torch::autograd::variable_list& outputs,
                                            const torch::autograd::variable_list&) override {
    if (const auto accumulated = accumulated_.lock()) (*accumulated)();
    return outputs;  // A gradient accumulator has none.
  }

 private:
  std::weak_ptr<const std::function<void()>> accumulated_;
};

}  // namespace

AccumulationHooks::AccumulationHooks(std::function<void()> accumulated)
    : accumulated_(std::make_shared<const std::function<void()>>(std::move(accumulated))) {}

AccumulationHooks::~AccumulationHooks() {
  for (const Attached& attached : attached_)
    if (attached.accumulator) attached.accumulator->del_post_hook(attached.key);
}

void AccumulationHooks::attach(const std::vector<WatchedParameter>& parameters) {
  attached_.resize(parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const at::Tensor& parameter = parameters[i].tensor;
    if (!parameter.requires_grad() || !parameter.is_leaf()) continue;
    std::shared_ptr<torch::autograd::Node> accumulator = torch::autograd::impl::grad_accumulator(parameter);
    if (!accumulator || accumulator == attached_[i].accumulator) continue;
    const std::uintptr_t key = accumulator->add_post_hook(std::make_unique<Hook>(accumulated_));
    attached_[i] = {std::move(accumulator), key};
  }
}

}  // namespace gradhealth::hooks
