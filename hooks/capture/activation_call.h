#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <torch/csrc/autograd/edge.h>

#include "hooks/capture/operator_details.h"
#include "hooks/statistics/device_sums.h"
#include "hooks/statistics/feature_sums.h"
#include "hooks/statistics/tensor_sums.h"
#include "hooks/torch_compat.h"

namespace gradhealth::hooks {

/// What a probe has found at one activation; NaN: does not apply there.
struct ActivationProbe {
  double jacobian_norm = std::numeric_limits<double>::quiet_NaN();
  double gradient_scale = std::numeric_limits<double>::quiet_NaN();
  double z_score = std::numeric_limits<double>::quiet_NaN();
  double spectral_norm = std::numeric_limits<double>::quiet_NaN();
};

/// One operator call whose output is recorded as an activation.
struct ActivationCall {
  int parent = -1;     ///< The call whose output it was applied to; -1 for a layer or a tap.
  int parameter = -1;  ///< Of a layer: its weight.
  std::string base;  ///< Layer: module path. Tap: its name. Further output of a layer: "h_n". Otherwise: the operator.
  std::string module;
  std::string op;  ///< "conv2d", "relu"; in-place variants lose their underscore.
  std::string shape;
  std::string dtype;
  Units units = Units::kLastDimension;
  int pass = 0;             ///< Forward passes are counted within the step, each thread's for themselves.
  bool superseded = false;  ///< The bias was added by an operator of its own: that call replaces this one.
  bool gradient_expected = false;
  bool gradient_seen = false;
  ActivationSums values;
  ElementSums gradient;
  std::optional<InputSums> input;        ///< Only for the first layer of the model.
  std::vector<LateSums> late_gradients;  ///< On a device; not yet in `gradient`.
  std::vector<std::int64_t> sizes;
  WeakNode node;  ///< With `output_nr`, where the graph receives the gradient.
  std::uint32_t output_nr = 0;
  std::int64_t along = -1;  ///< The dimension of a softmax, from 0.
  bool of_output = false;   ///< What it was applied to is its parent's output, in whatever shape.
  OperatorDetail detail;
  std::optional<ActivationProbe> probe;
};

/// A recorded call whose graph is alive. Holds the graph: keep it no longer than a probe.
struct ProbeTap {
  int call = 0;
  int parent = -1;
  int parameter = -1;
  std::string op;
  std::string module;
  std::vector<std::int64_t> sizes;
  double rms = 0;
  NodePtr node;
  std::uint32_t output_nr = 0;

  torch::autograd::Edge edge() const { return {node, output_nr}; }
};

/// Adds to the calls what a readback has brought of them.
void complete(std::vector<ActivationCall>& calls, const Readback& readback);

}  // namespace gradhealth::hooks
