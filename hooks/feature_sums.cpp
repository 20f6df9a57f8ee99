#include "hooks/feature_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>

#include "hooks/reading.h"

namespace gradhealth::hooks {
namespace {

constexpr float kAlwaysInteger = 8388608;  // 2^23: no float beyond has a fraction.

bool is_finite(float x) { return std::fabs(x) <= std::numeric_limits<float>::max(); }

bool is_integer(float x) {
  const float small = std::fabs(x) < kAlwaysInteger ? x : 0.0f;
  return static_cast<float>(static_cast<std::int32_t>(small)) == small;
}

/// [rows × columns × positions], a feature per column: for images, whose planes are contiguous.
void add_planes(const float* data, std::int64_t rows, std::int64_t columns, std::int64_t positions, FeatureSums& sums) {
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
        const bool usable = is_finite(x);
        const double value = usable ? x : 0.0f;
        sum += value;
        sum_squares += value * value;
        min = usable && x < min ? x : min;
        max = usable && x > max ? x : max;
        finite += usable;
        integers += usable && is_integer(x);
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

/// [rows × columns], a feature per column: side by side through all columns, row after row.
void add_columns(const float* data, std::int64_t rows, std::int64_t columns, FeatureSums& sums) {
  double* sum = sums.sum.data();
  double* sum_squares = sums.sum_squares.data();
  double* min = sums.min.data();
  double* max = sums.max.data();
  std::int64_t* finite = sums.finite.data();
  std::int64_t* nonfinite = sums.nonfinite.data();
  std::int64_t* integers = sums.integers.data();
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* values = data + row * columns;
#pragma omp simd
    for (std::int64_t i = 0; i < columns; ++i) {
      const float x = values[i];
      const bool usable = is_finite(x);
      const double value = usable ? x : 0.0f;
      sum[i] += value;
      sum_squares[i] += value * value;
      min[i] = usable && x < min[i] ? x : min[i];
      max[i] = usable && x > max[i] ? x : max[i];
      finite[i] += usable;
      nonfinite[i] += !usable;
      integers[i] += usable && is_integer(x);
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

InputSums input_sums(const at::Tensor& input, Units units, std::string kind) {
  InputSums sums = describe_input(input, units, std::move(kind));
  if (sums.whole.rows == 0) return sums;
  // Inputs in double are rounded: what is missing to normalise them shows in float as well.
  const at::Tensor values = input.to(at::kFloat).contiguous();
  const auto features = static_cast<std::int64_t>(sums.features.size());
  if (sums.whole.positions == 1)
    add_columns(values.data_ptr<float>(), sums.whole.rows, features, sums.features);
  else
    add_planes(values.data_ptr<float>(), sums.whole.rows, features, sums.whole.positions, sums.features);
  const auto& nonfinite = sums.features.nonfinite;
  if (std::any_of(nonfinite.begin(), nonfinite.end(), [](std::int64_t n) { return n > 0; }))
    find_bad_sample(values, sums);
  return sums;
}

}  // namespace gradhealth::hooks
