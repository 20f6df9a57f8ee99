#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include <gradhealth/hooks.h>

namespace gradhealth::hooks {

struct Clip {
  double norm = 0;    ///< L2 norm over all gradients, before clipping.
  double factor = 1;  ///< What they were multiplied by; NaN where the norm is.
};

/// LibTorch's clipping of a model's gradients by their global norm.
class GradientClipping {
 public:
  explicit GradientClipping(const NamedTensors& parameters);

  /// What torch::nn::utils::clip_grad_norm_ does, with each parameter once.
  Clip clip(double max_norm) const;
  /// Each once.
  const std::vector<at::Tensor>& parameters() const { return parameters_; }

 private:
  std::vector<at::Tensor> parameters_;
};

}  // namespace gradhealth::hooks
