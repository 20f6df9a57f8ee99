#include "hooks/capture/activation_recorder.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace gradhealth::hooks {
namespace {

constexpr std::int32_t kWindowSteps = 20;
constexpr std::int64_t kWindowSamples = 1000;

void set_statistics(const ActivationCall& call, std::size_t subject, StepRecord& row) {
  const ElementSums& sums = call.values.elements;
  if (sums.count > 0) {
    const double count = static_cast<double>(sums.count);
    row.set(Quantity::kActivationMean, subject, sums.mean());
    row.set(Quantity::kActivationStd, subject, sums.std());
    row.set(Quantity::kActivationRms, subject, sums.rms());
    row.set(Quantity::kActivationMax, subject, sums.max_abs);
    row.set(Quantity::kActivationZeroFraction, subject, static_cast<double>(sums.zeros) / count);
    row.set(Quantity::kActivationNonfinite, subject, static_cast<double>(sums.nonfinite));
    row.set(Quantity::kActivationSampledFraction, subject, count / static_cast<double>(call.values.total));
  }
  if (call.gradient_seen) {
    row.set(Quantity::kActivationGradientNorm, subject, call.gradient.norm());
    row.set(Quantity::kActivationGradientNonfinite, subject, static_cast<double>(call.gradient.nonfinite));
  }
}

void set_detail(const OperatorDetail& detail, std::size_t subject, StepRecord& row) {
  if (detail.saturable > 0)
    row.set(Quantity::kActivationSaturatedFraction, subject, static_cast<double>(detail.saturated) / detail.saturable);
  if (detail.distributions > 0)
    row.set(Quantity::kActivationLogitStd, subject,
            std::sqrt(detail.logit_variances / static_cast<double>(detail.distributions)));
  if (detail.gaps > 0)
    row.set(Quantity::kRunningStatisticsGap, subject, detail.statistics_gap / static_cast<double>(detail.gaps));
  if (detail.logits > 0)
    row.set(Quantity::kMaskedFraction, subject,
            static_cast<double>(detail.masked) / static_cast<double>(detail.logits));
  if (detail.indices > 0)
    row.set(Quantity::kPaddingFraction, subject,
            static_cast<double>(detail.padding) / static_cast<double>(detail.indices));
}

void set_probe(const ActivationCall& call, std::size_t subject, StepRecord& row) {
  if (!call.probe) return;
  const auto set = [&](Quantity quantity, double value) {
    if (!std::isnan(value)) row.set(quantity, subject, value);
  };
  set(Quantity::kJacobianNorm, call.probe->jacobian_norm);
  set(Quantity::kGradientScaleCoefficient, call.probe->gradient_scale);
  set(Quantity::kJacobianZScore, call.probe->z_score);
  set(Quantity::kSpectralNorm, call.probe->spectral_norm);
}

/// Ratios of the gradient norms along the activations of this step, in forward order.
void set_growth(const std::vector<std::size_t>& in_order, StepRecord& row) {
  std::optional<double> last;
  for (auto it = in_order.rbegin(); it != in_order.rend() && !last; ++it) {
    const double norm = row.at(Quantity::kActivationGradientNorm, *it);
    if (!std::isnan(norm)) last = norm;
  }
  if (!last) return;
  std::optional<double> previous;
  for (const std::size_t subject : in_order) {
    const double norm = row.at(Quantity::kActivationGradientNorm, subject);
    if (std::isnan(norm)) continue;
    if (*last > 0) row.set(Quantity::kCumulativeGrowth, subject, norm / *last);
    if (previous && norm > 0) row.set(Quantity::kBackwardGain, subject, *previous / norm);
    previous = norm;
  }
}

/// Of an input that is read. @pre the features are known.
void add_bins(const InputSums& input, Run& run) {
  if (input.features.size() == 0) return;
  const std::size_t histograms = histogram_count(input.features.size());
  for (std::size_t i = 0; i < histograms; ++i) {
    Subject subject = run.of(Axis::kFeature)[i];
    const std::string of = histograms == input.features.size() ? subject.name : "all";
    subject.size = input.values_per_sample / static_cast<std::int64_t>(histograms);
    for (std::size_t bin = 0; bin < kInputBins; ++bin) {
      subject.name = fmt::format("{}, bin {}", of, bin);
      run.of(Axis::kInputBin).push_back(subject);
    }
  }
}

}  // namespace

void UnitActivity::observe(const std::vector<std::uint8_t>& active, std::int64_t samples) {
  if (active.size() != idle_samples_.size()) {  // The first step, or a layer whose width varies.
    idle_samples_.assign(active.size(), 0);
    idle_steps_.assign(active.size(), 0);
    samples_ = 0;
    steps_ = 0;
  }
  samples_ += samples;
  ++steps_;
  for (std::size_t unit = 0; unit < active.size(); ++unit) {
    idle_samples_[unit] = active[unit] ? 0 : idle_samples_[unit] + samples;
    idle_steps_[unit] = active[unit] ? 0 : idle_steps_[unit] + 1;
  }
}

std::optional<double> UnitActivity::dead_fraction() const {
  if (steps_ < kWindowSteps || samples_ < kWindowSamples || idle_steps_.empty()) return std::nullopt;
  std::size_t dead = 0;
  for (std::size_t unit = 0; unit < idle_steps_.size(); ++unit)
    dead += idle_steps_[unit] >= kWindowSteps && idle_samples_[unit] >= kWindowSamples;
  return static_cast<double>(dead) / static_cast<double>(idle_steps_.size());
}

std::size_t ActivationRecorder::subject(const std::string& name, const ActivationCall& call, Run& run) {
  const auto [entry, added] = subjects_.try_emplace(name, run.of(Axis::kActivation).size());
  if (added) {
    run.of(Axis::kActivation)
        .push_back(
            {name, call.module, call.op, call.shape, call.dtype, static_cast<std::int64_t>(call.values.active.size())});
    activity_.emplace_back();
  }
  return entry->second;
}

void ActivationRecorder::record(std::vector<ActivationCall> calls, const TrainingCalls& training,
                                const std::vector<InputSums>& given_inputs, Run& run, StepRecord& row) {
  std::map<std::string, std::size_t> first_of_name;  // Micro-batches repeat the names of the first one.
  std::vector<std::size_t> order;
  std::vector<const InputSums*> inputs;
  for (const InputSums& given : given_inputs) inputs.push_back(&given);
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (!training.has(i)) continue;
    if (calls[i].input && given_inputs.empty()) inputs.push_back(&*calls[i].input);
    const auto [entry, first] = first_of_name.try_emplace(training.name(i), i);
    if (first) {
      order.push_back(i);
      continue;
    }
    ActivationCall& merged = calls[entry->second];
    merged.values.elements += calls[i].values.elements;
    merged.values.samples += calls[i].values.samples;
    merged.values.total += calls[i].values.total;
    if (merged.values.active.size() == calls[i].values.active.size())
      std::transform(merged.values.active.begin(), merged.values.active.end(), calls[i].values.active.begin(),
                     merged.values.active.begin(), [](auto a, auto b) { return static_cast<std::uint8_t>(a | b); });
    if (!merged.probe) merged.probe = calls[i].probe;
    merged.gradient_seen |= calls[i].gradient_seen;
    merged.gradient += calls[i].gradient;
    merged.detail += calls[i].detail;
  }
  std::vector<std::size_t> subjects;
  for (const std::size_t i : order) {
    const std::size_t index = subject(training.name(i), calls[i], run);
    subjects.push_back(index);
    set_statistics(calls[i], index, row);
    set_detail(calls[i].detail, index, row);
    set_probe(calls[i], index, row);
    activity_[index].observe(calls[i].values.active, calls[i].values.samples);
    if (const std::optional<double> dead = activity_[index].dead_fraction())
      row.set(Quantity::kActivationDeadFraction, index, *dead);
  }
  set_growth(subjects, row);
  record_input(inputs, run, row);
}

void ActivationRecorder::record_input(const std::vector<const InputSums*>& inputs, Run& run, StepRecord& row) {
  if (inputs.empty()) return;
  const InputSums& first = *inputs.front();
  std::vector<Subject>& subjects = run.of(Axis::kFeature);
  if (subjects.empty()) {
    const std::size_t features = std::max<std::size_t>(first.features.size(), 1);
    for (std::size_t i = 0; i < features; ++i) {
      const std::string name = first.feature_word.empty()    ? "all"
                               : first.feature_word == "all" ? "all"
                                                             : fmt::format("{} {}", first.feature_word, i);
      subjects.push_back({name, "", first.kind, first.shape, first.dtype,
                          first.values_per_sample / static_cast<std::int64_t>(features)});
    }
    add_bins(first, run);
  }
  double batch = 0;
  FeatureSums sums(subjects.size());
  for (const InputSums* input : inputs) {
    batch += static_cast<double>(input->samples);
    if (input->features.size() == subjects.size()) sums += input->features;
    if (input->bad_sample >= 0)
      row.events.push_back({row.step, "nonfinite-input", subjects.front().name,
                            fmt::format("sample {} of a batch of {}, value {} of {}", input->bad_sample, input->samples,
                                        input->bad_feature, input->values_per_sample)});
  }
  row.set(Quantity::kBatchSize, batch);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const std::int64_t total = sums.finite[i] + sums.nonfinite[i];
    if (total == 0) continue;
    row.set(Quantity::kInputNonfinite, i, static_cast<double>(sums.nonfinite[i]));
    if (sums.finite[i] == 0) continue;
    const double count = static_cast<double>(sums.finite[i]);
    const double mean = sums.sum[i] / count;
    row.set(Quantity::kInputMean, i, mean);
    row.set(Quantity::kInputStd, i, std::sqrt(std::max(sums.sum_squares[i] / count - mean * mean, 0.0)));
    row.set(Quantity::kInputMin, i, sums.min[i]);
    row.set(Quantity::kInputMax, i, sums.max[i]);
    row.set(Quantity::kInputIntegerFraction, i, static_cast<double>(sums.integers[i]) / count);
  }
  if (!run.of(Axis::kInputBin).empty()) record_histograms(inputs, sums, row);
}

}  // namespace gradhealth::hooks
