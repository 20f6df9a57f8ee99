#include "hooks/parameter_recorder.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "hooks/tensor_sums.h"

namespace gradhealth::hooks {
namespace {

constexpr std::int64_t kRuns = 32;
constexpr std::int64_t kRunLength = 32;
constexpr std::int64_t kVitalSignElements = 1024;

std::string kind_of(const WatchedParameter& parameter) {
  if (parameter.tensor.dim() >= 2) return "weight";
  const std::string_view name = parameter.name;
  return name.find("bias") != std::string_view::npos ? "bias" : "scale";
}

/// Calls `visit(value, index)` for the sampled elements.
template <typename T, typename Visit>
void visit_sample(const T* data, std::int64_t count, Visit&& visit) {
  std::size_t index = 0;
  if (count <= kRuns * kRunLength) {
    for (std::int64_t i = 0; i < count; ++i) visit(static_cast<double>(data[i]), index++);
    return;
  }
  for (std::int64_t run = 0; run < kRuns; ++run) {
    const T* begin = data + (count - kRunLength) * run / (kRuns - 1);
    for (std::int64_t i = 0; i < kRunLength; ++i) visit(static_cast<double>(begin[i]), index++);
  }
}

template <typename Visit>
void visit_sample(const at::Tensor& tensor, Visit&& visit) {
  if (!readable(tensor) || tensor.layout() != at::kStrided || !tensor.is_non_overlapping_and_dense()) return;
  switch (tensor.scalar_type()) {
    case at::kFloat: return visit_sample(tensor.data_ptr<float>(), tensor.numel(), visit);
    case at::kDouble: return visit_sample(tensor.data_ptr<double>(), tensor.numel(), visit);
    case at::kHalf: return visit_sample(tensor.data_ptr<at::Half>(), tensor.numel(), visit);
    case at::kBFloat16: return visit_sample(tensor.data_ptr<at::BFloat16>(), tensor.numel(), visit);
    default: return;
  }
}

}  // namespace

void ElementSample::take(const at::Tensor& parameter) {
  values_.clear();
  visit_sample(parameter, [this](double value, std::size_t) { values_.push_back(value); });
}

double ElementSample::change_ratio(const at::Tensor& parameter) const {
  double change = 0;
  double before = 0;
  bool same = true;
  visit_sample(parameter, [&](double value, std::size_t i) {
    if (i >= values_.size()) return;
    const double difference = value - values_[i];
    // Two NaN are the same value that did not change, and no number.
    same &= value == values_[i] || (std::isnan(value) && std::isnan(values_[i]));
    change += difference * difference;
    before += values_[i] * values_[i];
  });
  return same ? 0.0 : std::sqrt(change / before);
}

ParameterRecorder::ParameterRecorder(const WatchedParameters& parameters, Run& run) : parameters_(parameters) {
  announce(run);
}

void ParameterRecorder::announce(Run& run) {
  for (std::size_t i = seen_.size(); i < parameters_.all().size(); ++i) {
    const WatchedParameter& parameter = parameters_.all()[i];
    run.of(Axis::kParameter)
        .push_back({parameter.name, parameter.module, kind_of(parameter), shape_text(parameter.tensor),
                    dtype_text(parameter.tensor), parameter.tensor.numel()});
  }
  seen_.resize(parameters_.all().size());
}

void ParameterRecorder::record(StepRecord& row) {
  double squares = 0;
  bool any_gradient = false;
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    const at::Tensor& weight = parameters_.all()[i].tensor;
    // Without this, a frozen parameter looks like one that the loss does not depend on.
    if (!weight.requires_grad() && !seen_[i].frozen)
      row.events.push_back({row.step, "frozen-parameter", parameters_.all()[i].name, "requires_grad is off"});
    seen_[i].frozen = !weight.requires_grad();
    if (const at::Tensor& gradient = weight.grad(); readable(gradient)) {
      const ElementSums sums = tensor_sums(gradient);
      row.set(Quantity::kGradientNorm, i, sums.norm());
      row.set(Quantity::kGradientMax, i, sums.max_abs);
      row.set(Quantity::kGradientNonfinite, i, static_cast<double>(sums.nonfinite));
      row.set(Quantity::kGradientZeros, i, static_cast<double>(sums.zeros));
      squares += sums.sum_squares;
      any_gradient = true;
    }
    if (!readable(weight)) continue;
    const ElementSums sums = tensor_sums(weight);
    row.set(Quantity::kWeightNorm, i, sums.norm());
    row.set(Quantity::kWeightNonfinite, i, static_cast<double>(sums.nonfinite));
    seen_[i].sum = sums.sum;
    seen_[i].sum_squares = sums.sum_squares;
    seen_[i].sample.take(weight);
  }
  if (any_gradient) row.set(Quantity::kGlobalGradientNorm, std::sqrt(squares));
}

void ParameterRecorder::record_update(StepRecord& row) const {
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    if (!seen_[i].sample.taken()) continue;
    const at::Tensor& weight = parameters_.all()[i].tensor;
    const double ratio = seen_[i].sample.change_ratio(weight);
    if (ratio == 0 && weight.numel() > kRuns * kRunLength) {
      // An embedding's update touches few rows: only if no element at all has changed is it reported as none.
      const ElementSums now = tensor_sums(weight);
      if (now.sum != seen_[i].sum || now.sum_squares != seen_[i].sum_squares) continue;
    }
    // Infinite for a parameter that was all zero, NaN for one that holds NaN: no ratio either way.
    if (std::isfinite(ratio)) row.set(Quantity::kUpdateRatio, i, ratio);
  }
}

bool ParameterRecorder::gradient_sample_is_finite() {
  next_sampled_ = (next_sampled_ + 1) % seen_.size();
  const at::Tensor& gradient = parameters_.all()[next_sampled_].tensor.grad();
  if (!readable(gradient) || gradient.layout() != at::kStrided || gradient.scalar_type() != at::kFloat ||
      !gradient.is_non_overlapping_and_dense())
    return true;
  return element_sums(gradient.data_ptr<float>(), std::min(gradient.numel(), kVitalSignElements)).nonfinite == 0;
}

std::string ParameterRecorder::foreign_device() const {
  for (const WatchedParameter& parameter : parameters_.all())
    if (!parameter.tensor.device().is_cpu())
      return fmt::format("{} is on {}", parameter.name, parameter.tensor.device().str());
  return {};
}

}  // namespace gradhealth::hooks
