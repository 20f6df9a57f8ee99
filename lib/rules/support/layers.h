#pragma once

#include <cmath>
#include <cstddef>
#include <optional>
#include <vector>

#include <gradhealth/run.h>

/// The weights of a model in the order in which data passes them.
namespace gradhealth::rules {

/// A weight matrix or kernel. Embeddings, biases and norm scales are none.
struct Layer {
  std::size_t parameter = 0;
  std::optional<std::size_t> activation;  ///< The module's own output.
};

class Layers {
 public:
  /// Takes in new subjects; costs nothing when there are none.
  void update(const Run& run);

  /// In forward order.
  const std::vector<Layer>& all() const { return layers_; }

 private:
  std::vector<Layer> layers_;
  std::size_t parameters_ = 0;
  std::size_t activations_ = 0;
};

/// Gradient norm over weight norm; NaN if either is missing, not finite, or the weight is zero.
double relative_gradient(const StepRecord& record, const Layer& layer);

/// How relative gradients lie over depth at one step.
struct DepthProfile {
  std::size_t layers = 0;  ///< With a gradient; frozen ones have none.
  const Layer* first = nullptr;
  const Layer* last = nullptr;
  double first_value = 0;  ///< Relative gradient of the first layer that has one.
  double last_value = 0;
  double median = NAN;  ///< Over all layers but the first; NaN without any.
};
/// @param scratch grows to the number of layers once.
DepthProfile depth_profile(const StepRecord& record, const Layers& layers, std::vector<double>& scratch);

}  // namespace gradhealth::rules
