#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "hooks/statistics/input_histogram.h"
#include "hooks/statistics/readback.h"
#include "hooks/statistics/tensor_sums.h"

namespace gradhealth::hooks {

/// Sums over the finite values of each feature of a model's input.
struct FeatureSums {
  std::vector<double> sum;
  std::vector<double> sum_squares;
  std::vector<double> min;
  std::vector<double> max;
  std::vector<std::int64_t> finite;
  std::vector<std::int64_t> nonfinite;
  std::vector<std::int64_t> integers;

  explicit FeatureSums(std::size_t features = 0);
  std::size_t size() const { return sum.size(); }
  /// Adds the sums of the same features over other samples.
  FeatureSums& operator+=(const FeatureSums& other);
};

/// A block of an input seen as [rows × features × positions]; rows are samples where positions are counted.
struct FeatureBlock {
  std::int64_t row = 0;
  std::int64_t rows = 0;
  std::int64_t position = 0;
  std::int64_t positions = 0;
  ReadbackSlot late;
};

/// What entered the first parametric operator in one forward pass.
struct InputSums {
  std::string kind;  ///< The operator.
  std::string shape;
  std::string dtype;
  std::string feature_word;  ///< "channel", "feature", or "all" where there are too many to tell apart.
  std::int64_t values_per_sample = 0;
  std::int64_t samples = 0;
  FeatureSums features;
  std::int64_t bad_sample = -1;    ///< First sample with a non-finite value, and …
  std::int64_t bad_feature = -1;   ///< … the position of that value in the sample, counted over all its values.
  InputSample sample;              ///< Empty if there are no features, or unless asked for.
  FeatureBlock whole;              ///< No rows if there are no features.
  std::vector<FeatureBlock> late;  ///< Of an input that is read later (device_sums.h).
};

enum class InputValues : std::uint8_t {
  kSummed,
  kSampled,  ///< Some are kept as well, for a histogram.
};

/// Beyond this many features they are summed as one.
inline constexpr std::int64_t kMostFeatures = 1024;

/// What is known of an input without reading it.
InputSums describe_input(const at::Tensor& input, Units units, std::string kind);

/// @param input of at least one dimension, the first one over samples. One that is not readable, such as the indices
/// that enter an embedding, has no features.
InputSums input_sums(const at::Tensor& input, Units units, std::string kind,
                     InputValues kept = InputValues::kSummed);

}  // namespace gradhealth::hooks
