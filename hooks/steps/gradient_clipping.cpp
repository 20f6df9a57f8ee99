#include "hooks/steps/gradient_clipping.h"

#include <algorithm>
#include <cmath>

#include <torch/nn/utils/clip_grad.h>

namespace gradhealth::hooks {

GradientClipping::GradientClipping(const NamedTensors& parameters) {
  for (const auto& [name, tensor] : parameters)
    if (tensor.defined() && std::none_of(parameters_.begin(), parameters_.end(),
                                         [&t = tensor](const at::Tensor& seen) { return seen.is_same(t); }))
      parameters_.push_back(tensor);
}

Clip GradientClipping::clip(double max_norm) const {
  Clip clip;
  clip.norm = torch::nn::utils::clip_grad_norm_(parameters_, max_norm);
  // As there: never enlarges, and a norm that is not a number stays none.
  const double factor = max_norm / (clip.norm + 1e-6);
  clip.factor = factor > 1 ? 1 : factor;
  return clip;
}

}  // namespace gradhealth::hooks
