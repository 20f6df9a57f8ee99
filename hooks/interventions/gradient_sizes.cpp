#include "hooks/interventions/gradient_sizes.h"

#include <cmath>
#include <limits>

#include <ATen/ATen.h>

#include "hooks/unobserved.h"

namespace gradhealth::hooks {
namespace {

/// The values behind a gradient; undefined where there are none.
at::Tensor values_of(const at::Tensor& parameter) {
  const at::Tensor gradient = parameter.grad();
  if (!gradient.defined()) return {};
  const at::Tensor values = gradient.is_sparse() ? gradient.coalesce().values() : gradient.detach();
  return values.numel() > 0 ? values : at::Tensor();
}

double norm_of(const at::Tensor& values, double order) { return at::linalg_vector_norm(values, order).item<double>(); }

}  // namespace

std::optional<double> global_gradient_norm(const std::vector<at::Tensor>& parameters) {
  const Unobserved unobserved;
  bool any = false;
  double squares = 0;
  for (const at::Tensor& parameter : parameters) {
    const at::Tensor values = values_of(parameter);
    if (!values.defined()) continue;
    any = true;
    squares += std::pow(norm_of(values, 2), 2);
  }
  return any ? std::optional(std::sqrt(squares)) : std::nullopt;
}

std::optional<std::size_t> first_nonfinite_gradient(const std::vector<at::Tensor>& parameters) {
  const Unobserved unobserved;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const at::Tensor values = values_of(parameters[i]);
    // The largest magnitude, which unlike a sum of squares does not overflow by itself.
    if (values.defined() && !std::isfinite(norm_of(values, std::numeric_limits<double>::infinity()))) return i;
  }
  return std::nullopt;
}

}  // namespace gradhealth::hooks
