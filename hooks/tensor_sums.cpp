#include "hooks/tensor_sums.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace gradhealth::hooks {
namespace {

/// The tensor as float or double, every element once in memory order, order otherwise as it comes.
at::Tensor as_plain_memory(const at::Tensor& tensor) {
  at::Tensor plain = tensor;
  if (plain.scalar_type() != at::kFloat && plain.scalar_type() != at::kDouble) plain = plain.to(at::kFloat);
  if (!plain.is_non_overlapping_and_dense()) plain = plain.contiguous();
  return plain;
}

ElementSums sums_of_memory(const at::Tensor& plain) {
  return plain.scalar_type() == at::kDouble ? element_sums(plain.data_ptr<double>(), plain.numel())
                                            : element_sums(plain.data_ptr<float>(), plain.numel());
}

/// [samples × channels × positions]: every channel's plane is contiguous.
template <typename T>
void add_planes(const T* data, std::int64_t samples, std::int64_t channels, std::int64_t positions,
                ActivationSums& sums) {
  for (std::int64_t sample = 0; sample < samples; ++sample) {
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      const ElementSums plane = element_sums(data + (sample * channels + channel) * positions, positions);
      sums.active[static_cast<std::size_t>(channel)] |= plane.zeros < plane.count;
      sums.elements += plane;
    }
  }
}

template <typename T>
void add_tensor(const at::Tensor& tensor, Units units, ActivationSums& sums) {
  const bool channels_first = units == Units::kChannels && tensor.dim() >= 3;
  const std::int64_t unit_count = tensor.size(channels_first ? 1 : -1);
  sums.active.assign(static_cast<std::size_t>(unit_count), 0);
  sums.samples = channels_first || unit_count == 0 ? tensor.size(0) : tensor.numel() / unit_count;
  if (tensor.numel() == 0) return;
  if (!channels_first || tensor.is_contiguous(at::MemoryFormat::ChannelsLast)) {
    const at::Tensor plain = channels_first ? tensor : tensor.contiguous();
    sums.elements = element_sums_by_column(plain.data_ptr<T>(), plain.numel() / unit_count, unit_count,
                                           sums.active.data());
    return;
  }
  const at::Tensor plain = tensor.contiguous();
  add_planes(plain.data_ptr<T>(), plain.size(0), unit_count, plain.numel() / plain.size(0) / unit_count, sums);
}

}  // namespace

bool readable(const at::Tensor& tensor) {
  return tensor.defined() && at::isFloatingType(tensor.scalar_type()) && tensor.device().is_cpu() &&
         (tensor.layout() == at::kStrided || tensor.layout() == at::kSparse);
}

ElementSums tensor_sums(const at::Tensor& tensor) {
  if (tensor.layout() != at::kSparse) return sums_of_memory(as_plain_memory(tensor));
  ElementSums sums = sums_of_memory(as_plain_memory(tensor.coalesce()._values()));
  sums.zeros += tensor.numel() - sums.count;
  sums.count = tensor.numel();
  return sums;
}

ActivationSums activation_sums(const at::Tensor& tensor, Units units) {
  ActivationSums sums;
  if (tensor.layout() != at::kStrided) {
    sums.elements = tensor_sums(tensor);
  } else if (tensor.scalar_type() == at::kDouble) {
    add_tensor<double>(tensor, units, sums);
  } else {
    add_tensor<float>(tensor.to(at::kFloat), units, sums);
  }
  return sums;
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
