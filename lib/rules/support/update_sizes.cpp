#include "rules/support/update_sizes.h"

#include <cmath>

#include "stats/robust.h"

namespace gradhealth::rules {
namespace {

constexpr double kTinyRms = 1e-6;  ///< Weights below it are still leaving zero: every step is large against them.

}  // namespace

UpdateSizes update_sizes(const Run& run, const StepRecord& record, const Layers& layers, std::vector<double>& scratch) {
  UpdateSizes sizes;
  scratch.resize(2 * layers.all().size());
  double* const gradients = scratch.data() + layers.all().size();
  double most = 0;
  double least = 0;
  if (record.values(Quantity::kUpdateRatio).empty()) return sizes;
  for (const Layer& layer : layers.all()) {
    const double ratio = record.at(Quantity::kUpdateRatio, layer.parameter);
    const double relative = relative_gradient(record, layer);
    const double norm = record.at(Quantity::kWeightNorm, layer.parameter);
    const auto size = static_cast<double>(run.of(Axis::kParameter)[layer.parameter].size);
    if (!std::isfinite(ratio) || !(ratio > 0) || !(relative > 0)) continue;
    if (!(norm > kTinyRms * std::sqrt(size))) continue;
    if (sizes.layers == 0 || ratio > most) {
      most = ratio;
      sizes.largest = layer.parameter;
    }
    if (sizes.layers == 0 || ratio < least) {
      least = ratio;
      sizes.smallest = layer.parameter;
    }
    scratch[sizes.layers] = ratio;
    gradients[sizes.layers++] = relative;
  }
  // The logarithm keeps the order: one of the median is as good as the median of all of them.
  sizes.median = std::log10(stats::median_in_place(scratch.data(), sizes.layers));
  sizes.gradient_median = stats::median_in_place(gradients, sizes.layers);
  return sizes;
}

}  // namespace gradhealth::rules
