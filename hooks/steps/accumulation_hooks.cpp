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

/// Returns what it is given: the gradient may still be stolen, since nothing here holds it.
class PreHook : public torch::autograd::FunctionPreHook {
 public:
  PreHook(std::weak_ptr<const AccumulationHooks::Accumulating> accumulating, std::size_t parameter,
          const at::Tensor& tensor)
      : accumulating_(std::move(accumulating)), parameter_(parameter), tensor_(tensor.getIntrusivePtr()) {}

  torch::autograd::variable_list operator()(const torch::autograd::variable_list& gradients) override {
    if (const auto accumulating = accumulating_.lock())
      if (const auto tensor = tensor_.lock()) (*accumulating)(parameter_, at::Tensor(tensor).grad());
    return gradients;
  }

 private:
  std::weak_ptr<const AccumulationHooks::Accumulating> accumulating_;
  std::size_t parameter_;
  c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl> tensor_;
};

}  // namespace

AccumulationHooks::AccumulationHooks(Accumulating accumulating, std::function<void()> accumulated)
    : accumulating_(std::make_shared<const Accumulating>(std::move(accumulating))),
      accumulated_(std::make_shared<const std::function<void()>>(std::move(accumulated))) {}

AccumulationHooks::~AccumulationHooks() {
  for (const Attached& attached : attached_)
    if (attached.accumulator) attached.accumulator->del_post_hook(attached.key);
}

void AccumulationHooks::attach(const std::vector<WatchedParameter>& parameters) {
  attached_.resize(parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const at::Tensor& parameter = parameters[i].tensor;
    if (!parameter.requires_grad() || !parameter.is_leaf()) continue;
    NodePtr accumulator = torch::autograd::impl::grad_accumulator(parameter);
    if (!accumulator || accumulator == attached_[i].accumulator) continue;
    accumulator->add_pre_hook(std::make_unique<PreHook>(accumulating_, i, parameter));
    const std::uintptr_t key = accumulator->add_post_hook(std::make_unique<Hook>(accumulated_));
    attached_[i] = {std::move(accumulator), key};
  }
}

}  // namespace gradhealth::hooks
