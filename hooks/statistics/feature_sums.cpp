#include "hooks/statistics/feature_sums.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include <ATen/ATen.h>

#include "hooks/statistics/reading.h"
#include "hooks/statistics/vector_dispatch.h"

namespace gradhealth::hooks {
namespace {

constexpr std::int32_t kInfinityBits = 0x7f800000;
constexpr std::int32_t kAlwaysIntegerBits = 0x4b000000;  // 2^23: no float beyond has a fraction.
constexpr std::int64_t kColumnsAtOnce = 64;              // Whose sums stay in the first level of cache.
constexpr std::int64_t kRowsAtOnce = 1 << 20;            // So that 32 bits count them.

GRADHEALTH_INLINE std::int32_t magnitude_bits(float x) {
  std::int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits & 0x7fffffff;
}

/// Sums over neighbouring columns, or over the lanes of one feature.
struct Lanes {
  double sum[kColumnsAtOnce] = {};
  double sum_squares[kColumnsAtOnce] = {};
  float min[kColumnsAtOnce];
  float max[kColumnsAtOnce];
  std::int32_t finite[kColumnsAtOnce] = {};
  std::int32_t integers[kColumnsAtOnce] = {};

  Lanes() {
    std::fill_n(min, kColumnsAtOnce, std::numeric_limits<float>::infinity());
    std::fill_n(max, kColumnsAtOnce, -std::numeric_limits<float>::infinity());
  }

  GRADHEALTH_INLINE void add(const float* values, std::int64_t count) {
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
      const float x = values[i];
      const std::int32_t magnitude = magnitude_bits(x);
      const bool usable = magnitude < kInfinityBits;
      const double value = usable ? x : 0.0f;
      sum[i] += value;
      sum_squares[i] += value * value;
      const float low = usable ? x : std::numeric_limits<float>::infinity();
      const float high = usable ? x : -std::numeric_limits<float>::infinity();
      min[i] = low < min[i] ? low : min[i];
      max[i] = high > max[i] ? high : max[i];
      finite[i] += usable;
      // Compared as bits, without branches: what has a fraction is not the same after it was cut off.
      const float small = magnitude < kAlwaysIntegerBits ? x : 0.0f;
      const float whole = static_cast<float>(static_cast<std::int32_t>(small));
      integers[i] += static_cast<std::int32_t>(usable) & static_cast<std::int32_t>(magnitude_bits(whole - small) == 0);
    }
  }

  /// What lane `lane` has seen of `count` values.
  void move_to(FeatureSums& sums, std::int64_t feature, std::int64_t lane, std::int64_t count) const {
    const auto to = static_cast<std::size_t>(feature);
    sums.sum[to] += sum[lane];
    sums.sum_squares[to] += sum_squares[lane];
    sums.min[to] = std::min(sums.min[to], static_cast<double>(min[lane]));
    sums.max[to] = std::max(sums.max[to], static_cast<double>(max[lane]));
    sums.finite[to] += finite[lane];
    sums.nonfinite[to] += count - finite[lane];
    sums.integers[to] += integers[lane];
  }
};

/// [rows × columns × positions], a feature per column: for images, whose planes are contiguous.
GRADHEALTH_INLINE void planes_body(const float* data, std::int64_t rows, std::int64_t columns, std::int64_t positions,
                                   FeatureSums& sums) {
  const std::int64_t whole = positions / kColumnsAtOnce * kColumnsAtOnce;
  const std::int64_t rest = positions - whole;
  for (std::int64_t column = 0; column < columns; ++column) {
    Lanes lanes;
    for (std::int64_t row = 0; row < rows; ++row) {
      const float* values = data + (row * columns + column) * positions;
      for (std::int64_t begin = 0; begin < whole; begin += kColumnsAtOnce) lanes.add(values + begin, kColumnsAtOnce);
      lanes.add(values + whole, rest);
    }
    for (std::int64_t lane = 0; lane < std::min(positions, kColumnsAtOnce); ++lane)
      lanes.move_to(sums, column, lane, rows * (whole / kColumnsAtOnce + (lane < rest ? 1 : 0)));
  }
}

/// [rows × columns], a feature per column.
GRADHEALTH_INLINE void columns_body(const float* data, std::int64_t rows, std::int64_t columns, FeatureSums& sums) {
  for (std::int64_t first = 0; first < rows; first += kRowsAtOnce) {
    const std::int64_t some = std::min(kRowsAtOnce, rows - first);
    for (std::int64_t begin = 0; begin < columns; begin += kColumnsAtOnce) {
      const std::int64_t width = std::min(kColumnsAtOnce, columns - begin);
      const float* values = data + first * columns + begin;
      Lanes lanes;
      if (width == kColumnsAtOnce) {  // A loop of known length.
        for (std::int64_t row = 0; row < some; ++row) lanes.add(values + row * columns, kColumnsAtOnce);
      } else {
        for (std::int64_t row = 0; row < some; ++row) lanes.add(values + row * columns, width);
      }
      for (std::int64_t lane = 0; lane < width; ++lane) lanes.move_to(sums, begin + lane, lane, some);
    }
  }
}

#if GRADHEALTH_DISPATCH_AVX2
GRADHEALTH_AVX2 void planes_avx2(const float* data, std::int64_t rows, std::int64_t columns, std::int64_t positions,
                                 FeatureSums& sums) {
  planes_body(data, rows, columns, positions, sums);
}
GRADHEALTH_AVX2 void columns_avx2(const float* data, std::int64_t rows, std::int64_t columns, FeatureSums& sums) {
  columns_body(data, rows, columns, sums);
}
#endif

void add_planes(const float* data, std::int64_t rows, std::int64_t columns, std::int64_t positions, FeatureSums& sums) {
#if GRADHEALTH_DISPATCH_AVX2
  if (has_avx2()) return planes_avx2(data, rows, columns, positions, sums);
#endif
  planes_body(data, rows, columns, positions, sums);
}

void add_columns(const float* data, std::int64_t rows, std::int64_t columns, FeatureSums& sums) {
#if GRADHEALTH_DISPATCH_AVX2
  if (has_avx2()) return columns_avx2(data, rows, columns, sums);
#endif
  columns_body(data, rows, columns, sums);
}

void find_bad_sample(const at::Tensor& values, InputSums& sums) {
  const float* data = values.data_ptr<float>();
  const float* end = data + values.numel();
  const float* bad = std::find_if(data, end, [](float x) { return !std::isfinite(x); });
  if (bad == end) return;
  const std::int64_t per_sample = values.numel() / values.size(0);
  sums.bad_sample = (bad - data) / per_sample;
  sums.bad_feature = (bad - data) % per_sample;
}

}  // namespace

FeatureSums::FeatureSums(std::size_t features)
    : sum(features),
      sum_squares(features),
      min(features, std::numeric_limits<double>::infinity()),
      max(features, -std::numeric_limits<double>::infinity()),
      finite(features),
      nonfinite(features),
      integers(features) {}

FeatureSums& FeatureSums::operator+=(const FeatureSums& other) {
  for (std::size_t i = 0; i < size(); ++i) {
    sum[i] += other.sum[i];
    sum_squares[i] += other.sum_squares[i];
    min[i] = std::min(min[i], other.min[i]);
    max[i] = std::max(max[i], other.max[i]);
    finite[i] += other.finite[i];
    nonfinite[i] += other.nonfinite[i];
    integers[i] += other.integers[i];
  }
  return *this;
}

InputSums describe_input(const at::Tensor& input, Units units, std::string kind) {
  InputSums sums;
  sums.kind = std::move(kind);
  sums.shape = shape_text(input);
  sums.dtype = dtype_text(input);
  sums.samples = input.size(0);
  if (reading_of(input) == Reading::kNever || input.layout() != at::kStrided || input.numel() == 0) return sums;
  sums.values_per_sample = input.numel() / sums.samples;
  const bool channels = units == Units::kChannels && input.dim() >= 3;
  const std::int64_t columns = channels ? input.size(1) : input.size(-1);
  const bool one_by_one = columns <= kMostFeatures;
  sums.feature_word = !one_by_one ? "all" : channels ? "channel" : "feature";
  const std::int64_t features = one_by_one ? columns : 1;
  sums.features = FeatureSums(static_cast<std::size_t>(features));
  sums.whole.rows = channels ? sums.samples : input.numel() / columns;
  sums.whole.positions = input.numel() / sums.whole.rows / features;
  return sums;
}

InputSums input_sums(const at::Tensor& input, Units units, std::string kind, InputValues kept) {
  InputSums sums = describe_input(input, units, std::move(kind));
  if (sums.whole.rows == 0) return sums;
  // Inputs in double are rounded: what is missing to normalise them shows in float as well.
  const at::Tensor values = input.to(at::kFloat).contiguous();
  const auto features = static_cast<std::int64_t>(sums.features.size());
  if (sums.whole.positions == 1)
    add_columns(values.data_ptr<float>(), sums.whole.rows, features, sums.features);
  else
    add_planes(values.data_ptr<float>(), sums.whole.rows, features, sums.whole.positions, sums.features);
  if (kept == InputValues::kSampled)
    sums.sample = sample_of(values.data_ptr<float>(), values.numel(), sums.values_per_sample);
  const auto& nonfinite = sums.features.nonfinite;
  if (std::any_of(nonfinite.begin(), nonfinite.end(), [](std::int64_t n) { return n > 0; }))
    find_bad_sample(values, sums);
  return sums;
}

}  // namespace gradhealth::hooks
