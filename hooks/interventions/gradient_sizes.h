#pragma once

#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace gradhealth::hooks {

/// L2 norm over the gradients of all of them; not finite if one element is not. Nothing if there is none.
/// Waits for a device. Sparse gradients count by their values.
std::optional<double> global_gradient_norm(const std::vector<at::Tensor>& parameters);

/// Place of the first one whose gradient has an element that is not finite. Waits for a device.
std::optional<std::size_t> first_nonfinite_gradient(const std::vector<at::Tensor>& parameters);

}  // namespace gradhealth::hooks
