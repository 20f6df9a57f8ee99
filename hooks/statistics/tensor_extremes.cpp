#include "hooks/statistics/tensor_extremes.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "hooks/statistics/tensor_sums.h"

namespace gradhealth::hooks {
namespace {

Extremes extremes_of_memory(const at::Tensor& tensor) {
  at::Tensor plain = tensor;
  if (plain.scalar_type() != at::kFloat && plain.scalar_type() != at::kDouble) plain = plain.to(at::kFloat);
  if (!plain.is_non_overlapping_and_dense()) plain = plain.contiguous();
  return plain.scalar_type() == at::kDouble ? extremes(plain.data_ptr<double>(), plain.numel())
                                            : extremes(plain.data_ptr<float>(), plain.numel());
}

}  // namespace

bool has_extremes(const at::Tensor& tensor) {
  return tensor.defined() && at::isFloatingType(tensor.scalar_type()) &&
         ((tensor.layout() == at::kStrided && tensor.has_storage()) || tensor.layout() == at::kSparse);
}

TensorExtremes tensor_extremes(const at::Tensor& tensor) {
  const at::NoGradGuard no_grad;
  TensorExtremes result;
  result.sizes = tensor.sizes().vec();
  result.dtype = tensor.scalar_type();
  const at::Tensor dense = tensor.layout() == at::kSparse ? tensor.coalesce()._values() : tensor;
  result.values = dense.device().is_cpu() ? extremes_of_memory(dense) : extremes_by_operators(dense);
  return result;
}

Extremes extremes_by_operators(const at::Tensor& tensor) {
  Extremes result;
  result.count = tensor.numel();
  if (result.count == 0) return result;
  const at::Tensor wide = tensor.to(at::kDouble);
  const at::Tensor finite = at::isfinite(wide);
  result.min = at::where(finite, wide, at::full_like(wide, result.min)).min().item<double>();
  result.max = at::where(finite, wide, at::full_like(wide, result.max)).max().item<double>();
  result.nonfinite = result.count - finite.sum().item<std::int64_t>();
  if (result.nonfinite > 0) result.nan = at::isnan(wide).sum().item<std::int64_t>();
  return result;
}

std::pair<std::int64_t, std::int64_t> first_nonfinite(const at::Tensor& tensor) {
  const at::NoGradGuard no_grad;
  const at::Tensor places = at::isfinite(tensor).logical_not().reshape({-1}).nonzero();
  if (places.numel() == 0) return {-1, -1};
  const std::int64_t place = places[0].item<std::int64_t>();
  const std::int64_t per_sample = tensor.dim() > 0 ? tensor.numel() / tensor.size(0) : 1;
  return {place / per_sample, place % per_sample};
}

std::string text(const TensorExtremes& tensor) {
  const Extremes& values = tensor.values;
  const std::string shape = tensor.sizes.empty() ? "scalar" : fmt::format("{}", fmt::join(tensor.sizes, "x"));
  const std::string range =
      values.nonfinite < values.count ? fmt::format("{:.6g}:{:.6g}", values.min, values.max) : "-:-";
  return fmt::format("{}:{}:{}:{}:{}:{}", shape, dtype_text(tensor.dtype), range, values.nonfinite, values.nan,
                     values.count);
}

}  // namespace gradhealth::hooks
