#include "hooks/steps/state_watch.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "hooks/capture/element_sample.h"
#include "hooks/optimizer_info.h"
#include "hooks/statistics/tensor_extremes.h"
#include "hooks/statistics/tensor_sums.h"

namespace gradhealth::hooks {
namespace {

constexpr std::int64_t kSmallBuffer = 65'536;
constexpr std::size_t kMostEvents = 64;

}  // namespace

StateWatch::StateWatch(NamedTensors buffers, torch::optim::Optimizer* optimizer) : optimizer_(optimizer) {
  for (auto& [name, tensor] : buffers)
    if (tensor.defined()) buffers_.push_back({name, tensor});
}

void StateWatch::tell(const std::string& kind, const std::string& subject, const std::string& text, StepRecord& row) {
  if (told_.size() < kMostEvents && told_.insert(kind + " " + subject + (subject.empty() ? text : "")).second)
    row.events.push_back({row.step, kind, subject, text});
}

void StateWatch::record(const WatchedParameters& parameters, Detail detail, StepRecord& row) {
  record_buffers(detail, row);
  if (!optimizer_) return;
  if (detail == Detail::kAll) record_moments(parameters.all(), row);
  compare(parameters, row);
}

void StateWatch::record_buffers(Detail detail, StepRecord& row) {
  double nonfinite = 0;
  bool any = false;
  for (Buffer& buffer : buffers_) {
    const bool skipped = detail == Detail::kSmall && buffer.tensor.numel() > kSmallBuffer;
    if (skipped || !readable(buffer.tensor)) continue;
    any = true;
    std::int64_t count = 0;
    if (tensor_sums(buffer.tensor).nonfinite > 0) {
      const Extremes values = tensor_extremes(buffer.tensor).values;
      const std::int64_t infinities = values.nonfinite - values.nan;
      if (!buffer.seen) buffer.infinities = infinities;
      count = values.nan + std::max<std::int64_t>(infinities - buffer.infinities, 0);
    }
    buffer.seen = true;
    nonfinite += static_cast<double>(count);
    if (count > 0) tell("nonfinite-buffer", buffer.name, fmt::format("count={}", count), row);
  }
  if (any) row.set(Quantity::kBuffersNonfinite, nonfinite);
}

void StateWatch::record_moments(const ParameterList& parameters, StepRecord& row) {
  double nonfinite = 0;
  bool any = false;
  ElementSample sample;
  for (const WatchedParameter& parameter : parameters) {
    for (const auto& [moment, tensor] : moments_of(*optimizer_, parameter.tensor)) {
      sample.take(tensor);
      if (!sample.taken()) continue;
      any = true;
      const auto count = std::count_if(sample.values().begin(), sample.values().end(),
                                       [](double value) { return !std::isfinite(value); });
      nonfinite += static_cast<double>(count);
      if (count > 0)
        tell("nonfinite-optimizer-state", parameter.name, fmt::format("moment={} count={}", moment, count), row);
    }
  }
  if (any) row.set(Quantity::kOptimizerStateNonfinite, nonfinite);
}

void StateWatch::compare(const WatchedParameters& parameters, StepRecord& row) {
  const std::vector<at::Tensor> held = tensors_of(*optimizer_);
  if (compared_ == parameters.list() && compared_size_ == held.size()) return;
  compared_ = parameters.list();
  compared_size_ = held.size();
  std::set<const c10::TensorImpl*> of_optimizer;
  std::set<const c10::TensorImpl*> of_model;
  for (const at::Tensor& tensor : held) of_optimizer.insert(tensor.unsafeGetTensorImpl());
  for (const WatchedParameter& parameter : parameters.all()) {
    of_model.insert(parameter.tensor.unsafeGetTensorImpl());
    // What is frozen needs no optimizer.
    if (parameter.tensor.requires_grad() && of_optimizer.count(parameter.tensor.unsafeGetTensorImpl()) == 0)
      tell("parameter-not-optimized", parameter.name, "shape=" + shape_text(parameter.tensor), row);
  }
  for (const at::Tensor& tensor : held)
    if (of_model.count(tensor.unsafeGetTensorImpl()) == 0)
      tell("optimizer-holds-stranger", "", "shape=" + shape_text(tensor), row);
}

}  // namespace gradhealth::hooks
