#pragma once

#include <functional>
#include <vector>

#include "hooks/capture/step_capture.h"

namespace gradhealth::hooks {

/// What to expect of ln(‖Jᵀu‖²/‖u‖²) at one activation of a plain ReLU network: the gains of the layers between it and
/// the output add up to `log_gain`, and depth and width shift the mean by −2.5·beta and leave a variance of 5·beta
/// (Hanin, arXiv 1801.03744). NaN where the network is no such chain.
struct ChainExpectation {
  double log_gain;
  double beta;

  /// Standard deviations of the measured value from the expected one.
  double z_score(double log_ratio) const;
};

/// @param taps the recorded calls in one live graph, in forward order.
/// @param root index of the output among them: a layer.
/// @param squared_weight_norm ‖W‖_F² by parameter, as initialised; the gain of a layer is that over its outputs, half
/// of it where a ReLU follows.
/// @return one for each tap; only NaN unless everything behind the root is linear layers with a ReLU between each two,
/// with nothing that bypasses, rescales or normalises.
std::vector<ChainExpectation> relu_chain_expectations(const std::vector<ProbeTap>& taps, std::size_t root,
                                                      const std::function<double(int)>& squared_weight_norm);

}  // namespace gradhealth::hooks
