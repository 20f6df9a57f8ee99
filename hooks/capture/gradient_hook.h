#pragma once

#include <cstdint>
#include <memory>

#include <torch/csrc/autograd/function_hook.h>

namespace gradhealth::hooks {

class StepCapture;

/// Feeds the gradient at one recorded call to its capture. Holds no tensor; the graph owns the hook.
class GradientHook : public torch::autograd::FunctionPreHook {
 public:
  GradientHook(std::weak_ptr<StepCapture> capture, int call, std::uint32_t output);
  torch::autograd::variable_list operator()(const torch::autograd::variable_list& gradients) override;

 private:
  std::weak_ptr<StepCapture> capture_;
  int call_;
  std::uint32_t output_;
};

}  // namespace gradhealth::hooks
