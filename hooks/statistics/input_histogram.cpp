#include "hooks/statistics/input_histogram.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include <ATen/ATen.h>

#include "hooks/statistics/feature_sums.h"
#include "hooks/statistics/vector_dispatch.h"

namespace gradhealth::hooks {
namespace {

constexpr std::size_t kMostBinned = 4 * static_cast<std::size_t>(kMostSampled);  ///< Values of a step.
constexpr double kGoldenRatio = 0.618;

// Slots of a histogram's counts behind those of the bins: for the largest value, and for what is none.
constexpr std::size_t kLargest = kInputBins;
constexpr std::size_t kNone = kInputBins + 1;
constexpr std::size_t kSlots = kInputBins + 2;
constexpr std::size_t kLanes = 4;  ///< Values that are counted side by side: most may fall into the same bin.
constexpr std::size_t kBlock = 512;

/// What values are counted between.
struct Ends {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  bool has_range() const { return low < high; }
  /// Bins a unit. A little more than that, so that rounding leaves no value below the edge that it is on.
  double scale() const {
    return static_cast<double>(kInputBins) / (high - low) * (1 + 4 * std::numeric_limits<double>::epsilon());
  }
};

struct Histogram {
  Ends ends;
  std::array<std::array<std::uint32_t, kSlots>, kLanes> counts{};

  std::size_t count(std::size_t slot) const {
    std::size_t sum = 0;
    for (const auto& lane : counts) sum += lane[slot];
    return sum;
  }
  std::size_t in_bin(std::size_t bin) const { return count(bin) + (bin + 1 == kInputBins ? count(kLargest) : 0); }
};

std::vector<Histogram> empty_histograms(const FeatureSums& sums) {
  std::vector<Histogram> histograms(histogram_count(sums.size()));
  for (std::size_t i = 0; i < sums.size(); ++i) {
    Ends& ends = histograms[histograms.size() == 1 ? 0 : i].ends;
    ends.low = std::min(ends.low, sums.min[i]);
    ends.high = std::max(ends.high, sums.max[i]);
  }
  return histograms;
}

/// The slot of each value; of what is not within the ends, as NaN, kNone.
GRADHEALTH_INLINE void slots_body(const float* values, std::size_t count, const Ends& ends, std::int32_t* slots) {
  const double low = ends.low, high = ends.high, scale = ends.scale();
#pragma omp simd
  for (std::size_t i = 0; i < count; ++i) {
    const double value = values[i];
    const bool counts = value >= low && value <= high;
    slots[i] = static_cast<std::int32_t>(counts ? (value - low) * scale : static_cast<double>(kNone));
  }
}

#if GRADHEALTH_DISPATCH_AVX2
GRADHEALTH_AVX2 void slots_avx2(const float* values, std::size_t count, const Ends& ends, std::int32_t* slots) {
  slots_body(values, count, ends, slots);
}
#endif

void find_slots(const float* values, std::size_t count, const Ends& ends, std::int32_t* slots) {
#if GRADHEALTH_DISPATCH_AVX2
  if (has_avx2()) return slots_avx2(values, count, ends, slots);
#endif
  slots_body(values, count, ends, slots);
}

void add_to_one(const InputSample& sample, Histogram& histogram) {
  std::array<std::int32_t, kBlock> slots;
  for (std::size_t begin = 0; begin < sample.values.size(); begin += kBlock) {
    const std::size_t count = std::min(kBlock, sample.values.size() - begin);
    find_slots(sample.values.data() + begin, count, histogram.ends, slots.data());
    for (std::size_t i = 0; i < count; ++i) ++histogram.counts[i % kLanes][static_cast<std::size_t>(slots[i])];
  }
}

/// Features change every `positions` elements. Their places are counted, since a division takes longer than all else.
void add_to_each(const InputSample& sample, std::int64_t positions, std::vector<Histogram>& histograms) {
  struct Place {
    double low, high, scale;
  };
  std::vector<Place> places;
  for (const Histogram& each : histograms) places.push_back({each.ends.low, each.ends.high, each.ends.scale()});
  const auto features = static_cast<std::int64_t>(histograms.size());
  const std::int64_t position_step = sample.stride % positions;
  const std::int64_t feature_step = sample.stride / positions % features;
  std::int64_t position = 0;
  std::int64_t feature = 0;
  std::size_t lane = 0;
  for (const double value : sample.values) {
    const Place& place = places[static_cast<std::size_t>(feature)];
    if (place.low < place.high && value >= place.low && value <= place.high)
      ++histograms[static_cast<std::size_t>(feature)]
            .counts[lane++ % kLanes][static_cast<std::size_t>((value - place.low) * place.scale)];
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
  std::size_t values = 0;
  for (const InputSums* input : inputs) values += input->sample.values.size();
  if (values == 0) return;
  std::vector<Histogram> histograms = empty_histograms(sums);
  // A cell that is the first layer has an input for every element of a sequence.
  const std::size_t every = (values + kMostBinned - 1) / kMostBinned;
  for (std::size_t i = 0; i < inputs.size(); i += every) {
    const InputSums& input = *inputs[i];
    if (input.features.size() != sums.size()) continue;
    if (histograms.size() > 1)
      add_to_each(input.sample, input.whole.positions, histograms);
    else if (histograms.front().ends.has_range())
      add_to_one(input.sample, histograms.front());
  }
  std::vector<float> shares;
  for (const Histogram& histogram : histograms) {
    std::size_t all = 0;
    for (std::size_t bin = 0; bin < kInputBins; ++bin) all += histogram.in_bin(bin);
    for (std::size_t bin = 0; bin < kInputBins; ++bin)
      shares.push_back(all == 0 ? std::numeric_limits<float>::quiet_NaN()
                                : static_cast<float>(histogram.in_bin(bin)) / static_cast<float>(all));
  }
  row.assign(Quantity::kInputShare, shares.data(), shares.size());
}

}  // namespace gradhealth::hooks
