#include "hooks/statistics/input_histogram.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <ATen/ATen.h>

#include "hooks/statistics/feature_sums.h"

namespace gradhealth::hooks {
namespace {

constexpr std::size_t kMostBinned = 4 * static_cast<std::size_t>(kMostSampled);  ///< Values of a step.
constexpr double kGoldenRatio = 0.618;

/// The values between two ends, counted by size.
struct Histogram {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  std::int64_t count[kInputBins] = {};

  bool has_range() const { return low < high; }
  void add(double value) {
    const double place = (value - low) / (high - low) * static_cast<double>(kInputBins);
    ++count[static_cast<std::size_t>(std::clamp(place, 0.0, static_cast<double>(kInputBins - 1)))];
  }
};

std::vector<Histogram> empty_histograms(const FeatureSums& sums) {
  std::vector<Histogram> histograms(histogram_count(sums.size()));
  for (std::size_t i = 0; i < sums.size(); ++i) {
    Histogram& histogram = histograms[histograms.size() == 1 ? 0 : i];
    histogram.low = std::min(histogram.low, sums.min[i]);
    histogram.high = std::max(histogram.high, sums.max[i]);
  }
  return histograms;
}

void add_to_one(const InputSample& sample, Histogram& histogram) {
  for (const float value : sample.values)
    if (std::isfinite(value)) histogram.add(value);
}

/// Features change every `positions` elements. Their places are counted, since a division takes longer than all else.
void add_to_each(const InputSample& sample, std::int64_t positions, std::vector<Histogram>& histograms) {
  const auto features = static_cast<std::int64_t>(histograms.size());
  const std::int64_t position_step = sample.stride % positions;
  const std::int64_t feature_step = sample.stride / positions % features;
  std::int64_t position = 0;
  std::int64_t feature = 0;
  for (const float value : sample.values) {
    Histogram& histogram = histograms[static_cast<std::size_t>(feature)];
    if (std::isfinite(value) && histogram.has_range()) histogram.add(value);
    position += position_step;
    feature += feature_step;
    if (position >= positions) {
      position -= positions;
      ++feature;
    }
    if (feature >= features) feature -= features;
  }
}

}  // namespace

std::size_t histogram_count(std::size_t features) { return features <= kMostHistograms ? features : 1; }

std::int64_t sample_stride(std::int64_t numel, std::int64_t per_sample) {
  const std::int64_t least = (numel + kMostSampled - 1) / kMostSampled;
  std::int64_t stride = least;
  // Near a multiple of the samples' length, it would creep through a few places of them.
  if (least > 1 && least > per_sample / 2) {
    stride = least / per_sample * per_sample + std::llround(kGoldenRatio * static_cast<double>(per_sample));
    if (stride < least) stride += per_sample;
  }
  while (stride > 1 && std::gcd(stride, numel) != 1) ++stride;
  return stride;
}

InputSample sample_of(const float* values, std::int64_t numel, std::int64_t per_sample) {
  InputSample sample;
  sample.stride = sample_stride(numel, per_sample);
  sample.values.resize(static_cast<std::size_t>((numel + sample.stride - 1) / sample.stride));
  for (float& value : sample.values) {
    value = *values;
    values += sample.stride;
  }
  return sample;
}

InputSample late_sample_of(const at::Tensor& input, std::int64_t per_sample, Readback& readback) {
  InputSample sample;
  sample.stride = sample_stride(input.numel(), per_sample);
  const at::Tensor line = input.reshape({-1}).slice(0, 0, input.numel(), sample.stride);
  // Rounded as the sums are; in double, so that one copy brings both; copied, since the input may change until then.
  sample.late = readback.add(line.to(at::kFloat).to(at::kDouble, /*non_blocking=*/false, /*copy=*/true));
  return sample;
}

void complete(InputSample& sample, const Readback& readback) {
  const std::vector<double> values = readback.values(sample.late);
  sample.values.resize(values.size());
  std::transform(values.begin(), values.end(), sample.values.begin(),
                 [](double value) { return static_cast<float>(value); });
  sample.late = {};
}

void record_histograms(const std::vector<const InputSums*>& inputs, const FeatureSums& sums, StepRecord& row) {
  std::vector<Histogram> histograms = empty_histograms(sums);
  std::size_t values = 0;
  for (const InputSums* input : inputs) values += input->sample.values.size();
  // A cell that is the first layer has an input for every element of a sequence.
  const std::size_t every = (values + kMostBinned - 1) / kMostBinned;
  for (std::size_t i = 0; i < inputs.size(); i += std::max<std::size_t>(every, 1)) {
    const InputSums& input = *inputs[i];
    if (input.features.size() != sums.size()) continue;
    if (histograms.size() > 1)
      add_to_each(input.sample, input.whole.positions, histograms);
    else if (histograms.front().has_range())
      add_to_one(input.sample, histograms.front());
  }
  for (std::size_t i = 0; i < histograms.size(); ++i) {
    const auto& count = histograms[i].count;
    const auto all = std::accumulate(std::begin(count), std::end(count), std::int64_t{0});
    if (all == 0) continue;
    for (std::size_t bin = 0; bin < kInputBins; ++bin)
      row.set(Quantity::kInputShare, i * kInputBins + bin, static_cast<double>(count[bin]) / static_cast<double>(all));
  }
}

}  // namespace gradhealth::hooks
