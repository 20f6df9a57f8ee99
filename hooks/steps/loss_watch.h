#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace gradhealth::hooks {

/// Whether the loss is a scalar on a device, which `loss_value` would have to wait for.
bool is_late_loss(const at::Tensor& loss);

/// The loss as a number: NaN if it is not one scalar that can be read.
double loss_value(const at::Tensor& loss);

/// Looks at the loss of every step, recorded or not.
class LossWatch {
 public:
  /// Whether this loss stands far out of those before it, or is not finite.
  bool suspicious(double loss);

 private:
  std::int64_t steps_ = 0;
  double mean_ = 0;
  double deviation_ = 0;  ///< Smoothed |loss - mean|.
};

}  // namespace gradhealth::hooks
