#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include <gradhealth/run.h>

#include "hooks/statistics/readback.h"

namespace gradhealth::hooks {

struct FeatureSums;
struct InputSums;

/// Evenly spaced values of an input, always from the same places.
struct InputSample {
  std::vector<float> values;
  std::int64_t stride = 1;  ///< From one to the next, with the elements in the order of their indices.
  ReadbackSlot late;        ///< Of an input that is read later.
};

inline constexpr std::int64_t kMostSampled = 4096;  ///< Values of one input.
/// Up to so many features have a histogram each; where there are more, one is of all of them.
inline constexpr std::size_t kMostHistograms = 16;

std::size_t histogram_count(std::size_t features);

/// From one sampled element to the next, so that all places of a sample, and all features, have their turn.
/// @param numel, per_sample elements of the input and of one sample; positive.
std::int64_t sample_stride(std::int64_t numel, std::int64_t per_sample);

/// @param values the whole input, contiguous.
InputSample sample_of(const float* values, std::int64_t numel, std::int64_t per_sample);
/// The same later: up to three operators.
InputSample late_sample_of(const at::Tensor& input, std::int64_t per_sample, Readback& readback);
void complete(InputSample& sample, const Readback& readback);

/// Sets Quantity::kInputShare, if values were kept. A histogram without two different values is left out.
/// @param inputs of the micro-batches. @param sums of all of them, which tell the ranges.
void record_histograms(const std::vector<const InputSums*>& inputs, const FeatureSums& sums, StepRecord& row);

}  // namespace gradhealth::hooks
