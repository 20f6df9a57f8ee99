#pragma once

#include <filesystem>
#include <vector>

#include <ATen/core/Tensor.h>
#include <torch/data/transforms/tensor.h>

/// The fixes worth calling, with the numbers of a recorded run.
namespace gradhealth::fix {

/// x → (x / scale − mean) / std.
struct InputNormalization {
  double scale = 1;
  std::vector<double> mean;  ///< One for all, or one per channel or feature.
  std::vector<double> std;
  bool channels = false;  ///< They belong to a sample's first dimension; otherwise to its last one.

  /// @param sample [C, …] or […, F], any type; the result is float32 (float64 of float64).
  /// @throws c10::Error if it has another number of channels or features.
  at::Tensor apply(const at::Tensor& sample) const;
};

/// What the recommendation "normalize-input" says of this run, whether its input needs it or not.
/// @throws IoError, FormatError as RunReader does; UsageError if the run has no statistics of its input.
InputNormalization input_normalization(const std::filesystem::path& run);

/// The same as a transform of single samples, for `dataset.map(…)` before torch::data::transforms::Stack.
torch::data::transforms::TensorLambda<> input_normalizer(const std::filesystem::path& run);

/// The percentile of the global gradient norm over the recorded steps before the first error that the run's diagnosis
/// finds; what torch::nn::utils::clip_grad_norm_ and Monitor::clip_grad_norm take.
/// @param percentile above 0, up to 1.
/// @throws IoError, FormatError as RunReader does; UsageError for another percentile, or fewer than 20 such steps.
double clip_threshold(const std::filesystem::path& run, double percentile = 0.95);

}  // namespace gradhealth::fix
