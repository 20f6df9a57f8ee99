#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include <gradhealth/run.h>

#include "rules/support/layers.h"

namespace gradhealth::rules {

/// How large a step is against the weights, over the weight matrices and kernels of a model.
struct UpdateSizes {
  std::size_t layers = 0;    ///< With an update that is not exactly 0, a gradient and a weight that is not close to 0.
  double median = NAN;       ///< Of log10(update ratio); NaN without layers.
  std::size_t largest = 0;   ///< Parameter with the largest ratio.
  std::size_t smallest = 0;  ///< Parameter with the smallest ratio.
  double gradient_median = NAN;  ///< Of gradient norm over weight norm; NaN without layers.
};

/// @param scratch grows to the number of layers once.
UpdateSizes update_sizes(const Run& run, const StepRecord& record, const Layers& layers, std::vector<double>& scratch);

}  // namespace gradhealth::rules
