#include "hooks/feature_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>

namespace gradhealth::hooks {
namespace {

/// [rows × columns × positions], a feature per column.
void add_values(const float* data, std::int64_t rows, std::int64_t columns, std::int64_t positions, FeatureSums& sums) {
  constexpr float kAlwaysInteger = 8388608;  // 2^23: no float beyond has a fraction.
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      const float* values = data + (row * columns + column) * positions;
      double sum = 0;
      double sum_squares = 0;
      float min = std::numeric_limits<float>::infinity();
      float max = -min;
      std::int32_t finite = 0;
      std::int32_t integers = 0;
#pragma omp simd reduction(+ : sum, sum_squares, finite, integers) reduction(min : min) reduction(max : max)
      for (std::int64_t i = 0; i < positions; ++i) {
        const float x = values[i];
        const float magnitude = std::fabs(x);
        const bool is_finite = magnitude <= std::numeric_limits<float>::max();
        const float usable = is_finite ? x : 0.0f;
        const float small = magnitude < kAlwaysInteger ? x : 0.0f;
        sum += usable;
        sum_squares += static_cast<double>(usable) * usable;
        min = is_finite && x < min ? x : min;
        max = is_finite && x > max ? x : max;
        finite += is_finite;
        integers += is_finite && static_cast<float>(static_cast<std::int32_t>(small)) == small;
      }
      const auto feature = static_cast<std::size_t>(column);
      sums.sum[feature] += sum;
      sums.sum_squares[feature] += sum_squares;
      sums.min[feature] = std::min(sums.min[feature], static_cast<double>(min));
      sums.max[feature] = std::max(sums.max[feature], static_cast<double>(max));
      sums.finite[feature] += finite;
      sums.nonfinite[feature] += positions - finite;
      sums.integers[feature] += integers;
    }
  }
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

InputSums input_sums(const at::Tensor& input, Units units, std::string kind) {
  InputSums sums;
  sums.kind = std::move(kind);
  sums.shape = shape_text(input);
  sums.dtype = dtype_text(input);
  sums.samples = input.size(0);
  if (!readable(input) || input.layout() != at::kStrided || input.numel() == 0) return sums;
  // Inputs in double are rounded: what is missing to normalise them shows in float as well.
  const at::Tensor values = input.to(at::kFloat).contiguous();
  sums.values_per_sample = values.numel() / sums.samples;
  const bool channels = units == Units::kChannels && values.dim() >= 3;
  const std::int64_t columns = channels ? values.size(1) : values.size(-1);
  const bool one_by_one = columns <= kMostFeatures;
  sums.feature_word = !one_by_one ? "all" : channels ? "channel" : "feature";
  const std::int64_t features = one_by_one ? columns : 1;
  const std::int64_t rows = channels ? sums.samples : values.numel() / columns;
  sums.features = FeatureSums(static_cast<std::size_t>(features));
  add_values(values.data_ptr<float>(), rows, features, values.numel() / rows / features, sums.features);
  const auto& nonfinite = sums.features.nonfinite;
  if (std::any_of(nonfinite.begin(), nonfinite.end(), [](std::int64_t n) { return n > 0; }))
    find_bad_sample(values, sums);
  return sums;
}

}  // namespace gradhealth::hooks
