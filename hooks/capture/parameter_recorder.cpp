#include "hooks/capture/parameter_recorder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <gradhealth/ranks.h>

#include "hooks/statistics/reading.h"
#include "hooks/statistics/row_spread.h"
#include "hooks/statistics/tensor_sums.h"

namespace gradhealth::hooks {
namespace {

constexpr std::int64_t kVitalSignElements = 1024;

std::string kind_of(const WatchedParameter& parameter) {
  if (parameter.tensor.dim() >= 2) return "weight";
  const std::string_view name = parameter.name;
  return name.find("bias") != std::string_view::npos ? "bias" : "scale";
}

void set_update_ratio(double ratio, std::size_t parameter, StepRecord& row) {
  // Infinite for a parameter that was all zero, NaN for one that holds NaN: no ratio either way.
  if (std::isfinite(ratio)) row.set(Quantity::kUpdateRatio, parameter, ratio);
}

bool differ(const ElementSums& a, const ElementSums& b) { return a.sum != b.sum || a.sum_squares != b.sum_squares; }

}  // namespace

ParameterRecorder::ParameterRecorder(const WatchedParameters& parameters, Run& run, Fingerprints fingerprints)
    : parameters_(parameters), fingerprints_(fingerprints) {
  announce(run);
}

void ParameterRecorder::announce(Run& run) {
  for (std::size_t i = frozen_.size(); i < parameters_.all().size(); ++i) {
    const WatchedParameter& parameter = parameters_.all()[i];
    run.of(Axis::kParameter)
        .push_back({parameter.name, parameter.module, kind_of(parameter), shape_text(parameter.tensor),
                    dtype_text(parameter.tensor), parameter.tensor.numel()});
  }
  frozen_.resize(parameters_.all().size());
  silent_.resize(parameters_.all().size());
}

void ParameterRecorder::note_frozen(std::size_t index, StepRecord& row) {
  const WatchedParameter& parameter = parameters_.all()[index];
  const bool frozen = !parameter.tensor.requires_grad();
  // Without this, a frozen parameter looks like one that the loss does not depend on.
  if (frozen && !frozen_[index])
    row.events.push_back({row.step, "frozen-parameter", parameter.name, "requires_grad is off"});
  frozen_[index] = frozen;
}

void ParameterRecorder::read_gradients(ParameterReadings& readings, Readback& readback) const {
  for (std::size_t i = 0; i < readings.all.size(); ++i) {
    const at::Tensor& gradient = parameters_.all()[i].tensor.grad();
    const Reading reading = reading_of(gradient);
    if (reading == Reading::kNow) readings.all[i].gradient = gradient_sums(gradient);
    if (reading == Reading::kLater) readings.all[i].late_gradient = late_sums(gradient, Detail::kAll, readback);
  }
}

void ParameterRecorder::read(ParameterReadings& readings, Weights weights, Readback& readback) {
  readings.descent = {};
  readings.all.resize(parameters_.all().size());
  for (ParameterReadings::One& one : readings.all) {
    ElementSample sample = std::move(one.sample);  // Keeps their memory.
    ElementSample gradient_sample = std::move(one.gradient_sample);
    sample.clear();
    gradient_sample.clear();
    one = {};
    one.sample = std::move(sample);
    one.gradient_sample = std::move(gradient_sample);
  }
  read_gradients(readings, readback);
  // A weight becomes NaN through a gradient, or shows in one.
  const bool whole = weights == Weights::kWhole ||
                     std::any_of(readings.all.begin(), readings.all.end(), [](const ParameterReadings::One& one) {
                       return one.gradient && one.gradient->nonfinite > 0;
                     });
  for (std::size_t i = 0; i < readings.all.size(); ++i) {
    ParameterReadings::One& one = readings.all[i];
    const at::Tensor& weight = parameters_.all()[i].tensor;
    const Reading reading = reading_of(weight);
    if (reading == Reading::kLater)
      one.before = {late_sums(weight, Detail::kSums, readback), late_sample(weight, readback)};
    if (reading != Reading::kNow) continue;
    one.weight = whole ? tensor_sums(weight) : sampled_sums(weight, kSampledElements);
    one.sample.take(weight);
    if (const at::Tensor& gradient = weight.grad(); same_places(weight, gradient)) one.gradient_sample.take(gradient);
    if (whole) one.row_spread = row_spread(weight, one.weight->sum_squares);
    if ((whole || silent_[i]) && weight.numel() > kSampleElements) one.checksum = checksum(weight);
  }
}

void ParameterRecorder::record(ParameterReadings& readings, const Readback& readback, StepRecord& row) {
  double squares = 0;
  bool any_gradient = false;
  for (std::size_t i = 0; i < readings.all.size(); ++i) {
    ParameterReadings::One& one = readings.all[i];
    note_frozen(i, row);
    if (one.late_gradient) one.gradient = sums_of(*one.late_gradient, readback);
    if (one.before) {
      one.weight = sums_of(one.before->sums, readback);
      one.sample.take(readback.values(one.before->sample));
    }
    if (one.gradient) {
      row.set(Quantity::kGradientNorm, i, one.gradient->norm());
      row.set(Quantity::kGradientMax, i, one.gradient->max_abs);
      row.set(Quantity::kGradientNonfinite, i, static_cast<double>(one.gradient->nonfinite));
      row.set(Quantity::kGradientZeros, i, static_cast<double>(one.gradient->zeros));
      squares += one.gradient->sum_squares;
      any_gradient = true;
    }
    if (!one.weight) continue;
    const double read = static_cast<double>(one.weight->count);
    const double share = read > 0 ? static_cast<double>(parameters_.all()[i].tensor.numel()) / read : 1;
    row.set(Quantity::kWeightNorm, i, one.weight->norm() * std::sqrt(share));
    row.set(Quantity::kWeightNonfinite, i, static_cast<double>(one.weight->nonfinite));
    if (one.row_spread) row.set(Quantity::kRowSpread, i, *one.row_spread);
    if (fingerprints_ == Fingerprints::kTaken && one.sample.taken())
      row.set(Quantity::kWeightFingerprint, i, fingerprint(one.sample.values().data(), one.sample.values().size()));
  }
  if (any_gradient) row.set(Quantity::kGlobalGradientNorm, std::sqrt(squares));
  record_alignment(readings, row);
}

void ParameterRecorder::record_alignment(const ParameterReadings& readings, StepRecord& row) {
  previous_gradients_.resize(readings.all.size());
  Alignment alignment;
  for (std::size_t i = 0; i < readings.all.size(); ++i) {
    const ElementSample& gradient = readings.all[i].gradient_sample;
    alignment.add(gradient.values(), previous_gradients_[i].values());
    previous_gradients_[i] = gradient;
  }
  if (const std::optional<double> cosine = alignment.cosine()) row.set(Quantity::kGradientAlignment, *cosine);
}

void ParameterRecorder::read_update(ParameterReadings& readings, Readback& readback) {
  for (std::size_t i = 0; i < readings.all.size(); ++i) {
    ParameterReadings::One& one = readings.all[i];
    const at::Tensor& weight = parameters_.all()[i].tensor;
    const Reading reading = reading_of(weight);
    if (one.before && reading == Reading::kLater) {
      one.after = {{}, late_sample(weight, readback)};
      if (weight.numel() > kSampleElements) one.after->sums = late_sums(weight, Detail::kSums, readback);
    }
    if (one.before || reading != Reading::kNow || !one.sample.taken()) continue;
    now_.take(weight);
    one.update_ratio = one.sample.change_ratio(now_);
    one.unchanged = unchanged_fraction(one.sample, now_, one.gradient_sample);
    if (one.gradient_sample.taken())
      readings.descent.add(descent_between(one.sample, now_), one.gradient_sample.values());
    silent_[i] = *one.update_ratio == 0;
    // An embedding's update touches few rows: only if no element at all has changed is it reported as none.
    if (silent_[i] && weight.numel() > kSampleElements && (!one.checksum || checksum(weight) != one.checksum))
      one.update_ratio.reset();
  }
}

void ParameterRecorder::record_update(const ParameterReadings& readings, const Readback& readback,
                                      StepRecord& row) const {
  if (const std::optional<double> cosine = readings.descent.cosine()) row.set(Quantity::kUpdateGradientCosine, *cosine);
  for (std::size_t i = 0; i < readings.all.size(); ++i) {
    const ParameterReadings::One& one = readings.all[i];
    if (one.update_ratio) set_update_ratio(*one.update_ratio, i, row);
    if (one.unchanged) row.set(Quantity::kUnchangedFraction, i, *one.unchanged);
    if (!one.after || !one.sample.taken()) continue;
    ElementSample now;
    now.take(readback.values(one.after->sample));
    if (!now.taken()) continue;
    const double ratio = one.sample.change_ratio(now);
    if (ratio == 0 && one.after->sums.slot.filled() && differ(sums_of(one.after->sums, readback), *one.weight))
      continue;
    set_update_ratio(ratio, i, row);
  }
}

ReadbackSlot ParameterRecorder::late_sample(const at::Tensor& weight, Readback& readback) {
  if (weight.numel() == 0 || !weight.is_non_overlapping_and_dense()) return {};
  const at::Tensor line = weight.detach().as_strided({weight.numel()}, {1});
  return late_values(weight.numel() > kSampleElements ? line.index_select(0, places(weight)) : line, readback);
}

const at::Tensor& ParameterRecorder::places(const at::Tensor& weight) {
  // By stream, too: what one stream computes another must not use unasked.
  const c10::Stream stream = current_stream(weight.device());
  at::Tensor& places = places_[{weight.numel(), stream.device_type(), stream.device_index(), stream.id()}];
  if (places.defined()) return places;
  const auto options = at::TensorOptions().dtype(at::kLong).device(weight.device());
  const at::Tensor begins =
      at::floor_divide(at::arange(kSampleRuns, options) * (weight.numel() - kSampleRunLength), kSampleRuns - 1);
  places = (begins.unsqueeze(1) + at::arange(kSampleRunLength, options)).reshape({-1});
  return places;
}

bool ParameterRecorder::gradient_sample_is_late() const {
  return reading_of(parameters_.all()[next_sampled_].tensor.grad()) == Reading::kLater;
}

ReadbackSlot ParameterRecorder::late_gradient_sample(Readback& readback) {
  const at::Tensor& gradient = parameters_.all()[next_sampled_].tensor.grad();
  next_sampled_ = (next_sampled_ + 1) % parameters_.all().size();
  if (reading_of(gradient) != Reading::kLater || gradient.numel() == 0 || !gradient.is_non_overlapping_and_dense())
    return {};
  const at::Tensor sample = gradient.detach().as_strided({std::min(gradient.numel(), kVitalSignElements)}, {1});
  return late_values(at::linalg_vector_norm(sample, std::numeric_limits<double>::infinity()), readback);
}

std::string ParameterRecorder::foreign_device() const {
  for (const WatchedParameter& parameter : parameters_.all())
    if (!is_known(parameter.tensor.device()))
      return fmt::format("{} is on {}", parameter.name, parameter.tensor.device().str());
  return {};
}

}  // namespace gradhealth::hooks
