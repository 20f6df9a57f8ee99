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
constexpr std::int64_t kLanes = 8;                       // Whose sums stay in registers, …
constexpr std::int64_t kRowsAtOnce = 64;                 // … for so many rows: memory is read in its order.

GRADHEALTH_INLINE std::int32_t magnitude_bits(float x) {
  std::int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits & 0x7fffffff;
}

/// Sums over neighbouring columns, or over the lanes of one feature.
struct Lanes {
  double sum[kLanes] = {};
  double sum_squares[kLanes] = {};
  float min[kLanes];
  float max[kLanes];
  std::int64_t finite[kLanes] = {};
  std::int64_t integers[kLanes] = {};

  Lanes() {
    std::fill_n(min, kLanes, std::numeric_limits<float>::infinity());
    std::fill_n(max, kLanes, -std::numeric_limits<float>::infinity());
  }

  /// Of `rows` rows, `stride` apart, the first `lanes` values each.
  GRADHEALTH_INLINE void add(const float* values, std::int64_t rows, std::int64_t stride, std::int64_t lanes) {
    if (lanes == kLanes && add_if_finite(values, rows, stride)) return;
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t lane = 0; lane < lanes; ++lane) add(lane, values[row * stride + lane]);
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

 private:
  GRADHEALTH_INLINE void add(std::int64_t lane, float x) {
    const bool usable = magnitude_bits(x) < kInfinityBits;
    if (!usable) return;
    const double value = x;
    sum[lane] += value;
    sum_squares[lane] += value * value;
    min[lane] = std::min(min[lane], x);
    max[lane] = std::max(max[lane], x);
    ++finite[lane];
    integers[lane] += x == std::trunc(x);
  }

  /// All lanes. @returns false and adds nothing if a value is not finite.
  GRADHEALTH_INLINE bool add_if_finite(const float* values, std::int64_t rows, std::int64_t stride) {
    Lanes sums = *this;  // Not to be found in memory: kept in registers.
    std::int32_t largest[kLanes] = {};
    std::int32_t whole[kLanes] = {};
    for (std::int64_t row = 0; row < rows; ++row) {
      const float* here = values + row * stride;
#pragma omp simd
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        const float x = here[lane];
        const std::int32_t magnitude = magnitude_bits(x);
        largest[lane] = largest[lane] > magnitude ? largest[lane] : magnitude;
        const double value = x;
        sums.sum[lane] += value;
        sums.sum_squares[lane] += value * value;
        sums.min[lane] = x < sums.min[lane] ? x : sums.min[lane];
        sums.max[lane] = x > sums.max[lane] ? x : sums.max[lane];
        // What has a fraction is not the same after it was cut off; beyond 2^23 no float has one.
        const float small = magnitude < kAlwaysIntegerBits ? x : 0.0f;
        whole[lane] += static_cast<float>(static_cast<std::int32_t>(small)) == small;
      }
    }
    for (const std::int32_t magnitude : largest)
      if (magnitude >= kInfinityBits) return false;
    *this = sums;
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      finite[lane] += rows;
      integers[lane] += whole[lane];
    }
    return true;
  }
};

/// [rows × columns × positions], a feature per column: for images, whose planes are contiguous.
GRADHEALTH_INLINE void planes_body(const float* data, std::int64_t rows, std::int64_t columns, std::int64_t positions,
                                   FeatureSums& sums) {
  const std::int64_t whole = positions / kLanes;
  const std::int64_t rest = positions % kLanes;
  for (std::int64_t column = 0; column < columns; ++column) {
    Lanes lanes;
    for (std::int64_t row = 0; row < rows; ++row) {
      const float* values = data + (row * columns + column) * positions;
      lanes.add(values, whole, kLanes, kLanes);
      lanes.add(values + whole * kLanes, 1, kLanes, rest);
    }
    for (std::int64_t lane = 0; lane < std::min(positions, kLanes); ++lane)
      lanes.move_to(sums, column, lane, rows * (whole + (lane < rest ? 1 : 0)));
  }
}

/// [rows × columns], a feature per column.
GRADHEALTH_INLINE void columns_body(const float* data, std::int64_t rows, std::int64_t columns, FeatureSums& sums) {
  std::vector<Lanes> groups(static_cast<std::size_t>((columns + kLanes - 1) / kLanes));
  const auto group_of = [&groups](std::int64_t column) -> Lanes& {
    return groups[static_cast<std::size_t>(column / kLanes)];
  };
  for (std::int64_t row = 0; row < rows; row += kRowsAtOnce) {
    const std::int64_t some = std::min(kRowsAtOnce, rows - row);
    for (std::int64_t column = 0; column < columns; column += kLanes)
      group_of(column).add(data + row * columns + column, some, columns, std::min(kLanes, columns - column));
  }
  for (std::int64_t column = 0; column < columns; ++column)
    group_of(column).move_to(sums, column, column % kLanes, rows);
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
