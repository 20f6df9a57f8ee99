#include "hooks/statistics/tensor_sums.h"

#include <cstddef>
#include <optional>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "hooks/statistics/checksum.h"
#include "hooks/statistics/reading.h"

namespace gradhealth::hooks {
namespace {

/// Calls `visit(data)` with the elements' own type. The tensor is one whose memory may be read from its start.
template <typename Visit>
auto visit_memory(const at::Tensor& plain, Visit&& visit) {
  switch (plain.scalar_type()) {
    case at::kDouble: return visit(plain.data_ptr<double>());
    case at::kHalf: return visit(reinterpret_cast<const Half*>(plain.data_ptr<at::Half>()));
    case at::kBFloat16: return visit(reinterpret_cast<const BFloat16*>(plain.data_ptr<at::BFloat16>()));
    default: return visit(plain.data_ptr<float>());
  }
}

/// The tensor itself, unless it has gaps, overlaps itself, or is of a type that only LibTorch can read.
at::Tensor as_plain_memory(const at::Tensor& tensor) {
  const at::ScalarType type = tensor.scalar_type();
  const bool known = type == at::kFloat || type == at::kDouble || type == at::kHalf || type == at::kBFloat16;
  at::Tensor plain = known ? tensor : tensor.to(at::kFloat);
  return plain.is_non_overlapping_and_dense() ? plain : plain.contiguous();
}

/// `sum(data, count)` over the memory of a dense tensor, or over the values of a sparse one with its zeros added.
template <typename Sum>
ElementSums sums_of(const at::Tensor& tensor, Sum&& sum) {
  const bool sparse = tensor.layout() == at::kSparse;
  const at::Tensor plain = as_plain_memory(sparse ? tensor.coalesce()._values() : tensor);
  ElementSums sums = visit_memory(plain, [&](const auto* data) { return sum(data, plain.numel()); });
  sums.zeros += tensor.numel() - plain.numel();
  sums.count += tensor.numel() - plain.numel();
  return sums;
}

/// Where the units of a dense tensor lie in its memory; nothing if samples are not the slowest dimension of images.
std::optional<UnitLayout> layout_of(const at::Tensor& plain, Units units) {
  const bool channels = units == Units::kChannels && plain.dim() >= 3;
  const std::int64_t unit = channels ? 1 : plain.dim() - 1;
  UnitLayout layout;
  layout.units = plain.size(unit);
  layout.outer = layout.inner = 1;
  for (std::int64_t dimension = 0; dimension < plain.dim(); ++dimension) {
    if (dimension == unit || plain.size(dimension) == 1) continue;
    const bool first = channels && dimension == 0;
    if (first && plain.stride(0) * plain.size(0) != plain.numel()) return std::nullopt;
    // A single unit has no stride of its own: its samples come before it, its positions after it.
    const bool slower = layout.units == 1 ? first || !channels : plain.stride(dimension) > plain.stride(unit);
    (slower ? layout.outer : layout.inner) *= plain.size(dimension);
  }
  if (channels) layout.outer_per_sample = layout.outer / plain.size(0);
  return layout;
}

/// Nothing to read, but as many units as there would be.
ActivationSums sums_of_nothing(const at::Tensor& tensor, Units units) {
  ActivationSums sums;
  const std::int64_t unit = units == Units::kChannels && tensor.dim() >= 3 ? 1 : tensor.dim() - 1;
  sums.active.assign(static_cast<std::size_t>(tensor.size(unit)), 0);
  return sums;
}

}  // namespace

bool readable(const at::Tensor& tensor) { return reading_of(tensor) == Reading::kNow; }

ElementSums tensor_sums(const at::Tensor& tensor) {
  return sums_of(tensor, [](const auto* data, std::int64_t count) { return element_sums(data, count); });
}

ElementSums gradient_sums(const at::Tensor& tensor) {
  return sums_of(tensor, [](const auto* data, std::int64_t count) { return magnitude_sums(data, count); });
}

ElementSums sampled_sums(const at::Tensor& tensor, std::int64_t elements) {
  if (tensor.layout() == at::kSparse) return tensor_sums(tensor);
  return sums_of(tensor,
                 [elements](const auto* data, std::int64_t count) { return sampled_sums(data, count, elements); });
}

std::optional<std::uint64_t> checksum(const at::Tensor& tensor) {
  if (tensor.layout() != at::kStrided || !tensor.is_non_overlapping_and_dense()) return std::nullopt;
  return checksum(tensor.data_ptr(), static_cast<std::size_t>(tensor.numel()) * tensor.element_size());
}

ActivationSums activation_sums(const at::Tensor& tensor, Units units, const Sampling& sampling,
                               const Outside* outside) {
  if (tensor.layout() != at::kStrided) {
    ActivationSums sums;
    sums.elements = tensor_sums(tensor);
    sums.total = sums.elements.count;
    return sums;
  }
  if (tensor.numel() == 0) return sums_of_nothing(tensor, units);
  at::Tensor plain = as_plain_memory(tensor);
  std::optional<UnitLayout> layout = layout_of(plain, units);
  if (!layout) {
    plain = plain.contiguous();
    layout = layout_of(plain, units);
  }
  return {visit_memory(plain, [&](const auto* data) { return unit_sums(data, *layout, sampling, outside); }), {}, {}};
}

std::string shape_text(const at::Tensor& tensor) { return fmt::format("{}", fmt::join(tensor.sizes(), "x")); }

std::string dtype_text(const at::Tensor& tensor) { return dtype_text(tensor.scalar_type()); }

std::string dtype_text(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return "float32";
    case at::kDouble: return "float64";
    case at::kHalf: return "float16";
    case at::kBFloat16: return "bfloat16";
    case at::kLong: return "int64";
    case at::kInt: return "int32";
    default: return at::toString(type);
  }
}

}  // namespace gradhealth::hooks
