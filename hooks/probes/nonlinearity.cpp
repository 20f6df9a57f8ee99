#include "hooks/probes/nonlinearity.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include <ATen/ATen.h>

namespace gradhealth::hooks {
namespace {

// The product of all samples with all samples may not cost more than the backward pass that it belongs to.
constexpr std::int64_t kMostInputs = 128;
constexpr std::int64_t kMostValues = std::int64_t{1} << 22;

/// Float or double, one row a sample.
at::Tensor rows(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().reshape({tensor.size(0), -1});
  return flat.scalar_type() == at::kDouble ? flat : flat.to(at::kFloat);
}

}  // namespace

std::int64_t sample_stride(const at::Tensor& batch, std::int64_t most) {
  const std::int64_t samples = std::max<std::int64_t>(batch.size(0), 1);
  const std::int64_t values = std::max<std::int64_t>(batch.numel() / samples, 1);
  most = std::min(most, std::max<std::int64_t>(kMostValues / values, 2));
  return (samples + most - 1) / most;
}

double nonlinearity_coefficient(const at::Tensor& inputs, const at::Tensor& outputs,
                                const std::vector<at::Tensor>& pulled_back) {
  const at::Tensor f = rows(outputs);
  const at::Tensor x = rows(inputs);
  const double output_variance =
      (f - f.mean(0)).square().sum(at::kDouble).item<double>() / static_cast<double>(f.size(0));
  if (!(output_variance > 0)) return std::numeric_limits<double>::quiet_NaN();
  const at::Tensor centred = (x - x.mean(0)).slice(0, 0, x.size(0), sample_stride(x, kMostInputs));
  double along = 0;  // Σ_u mean over samples i and j of (v_i · (x_j − x̄))²
  for (const at::Tensor& v : pulled_back) {
    const at::Tensor products = at::mm(rows(v), centred.t());
    along += products.square().sum(at::kDouble).item<double>() / static_cast<double>(products.numel());
  }
  return std::sqrt(along / output_variance);
}

}  // namespace gradhealth::hooks
