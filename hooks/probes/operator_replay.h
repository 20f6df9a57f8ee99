#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/operator_name.h>

namespace gradhealth::hooks {

/// An operator's call, kept to differentiate it by an input that needed no gradient when it ran. Holds the call's
/// tensors: keep it no longer than the step.
class OperatorReplay {
 public:
  /// @param arguments of the call, the whole stack.
  /// @param input index of the tensor among them to differentiate by.
  OperatorReplay(c10::OperatorName name, std::vector<c10::IValue> arguments, std::size_t input);

  const at::Tensor& input() const { return input_; }
  /// Jᵀ·cotangent of the call's result by the input, for every `stride`-th sample. Runs the operator on these again.
  /// @param cotangent of the result's shape, for all samples.
  at::Tensor pull_back(const at::Tensor& cotangent, std::int64_t stride) const;

 private:
  c10::OperatorName name_;
  std::vector<c10::IValue> arguments_;
  std::size_t index_;
  at::Tensor input_;
};

/// Whether a call of this operator can be made again: a linear layer or a convolution, which draw nothing and change
/// nothing.
bool can_replay(std::string_view op);

}  // namespace gradhealth::hooks
