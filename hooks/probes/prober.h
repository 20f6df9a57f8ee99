#pragma once

#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include <gradhealth/hooks.h>
#include <gradhealth/run.h>

#include "hooks/capture/step_capture.h"
#include "hooks/capture/watched_parameters.h"
#include "hooks/probes/quiet_graph.h"

namespace gradhealth::hooks {

struct ProbeTarget {
  enum class Kind : std::uint8_t {
    kLoss,    ///< The output is the last layer's.
    kOutput,  ///< The tensor itself.
  } kind = Kind::kLoss;
  at::Tensor tensor;
};

/// Sends random cotangents through the live graph of a step. What it finds goes to the capture's calls and, for the
/// whole model, to the step's row. A probe that is not possible is an event, each kind once a run.
class Prober {
 public:
  explicit Prober(const WatchedParameters& parameters) : parameters_(parameters) {}

  void probe(StepCapture& capture, const ProbeTarget& target, const ProbeOptions& options, std::int64_t step);
  /// Writes the step's numbers and events.
  void record(StepRecord& row);
  /// Takes in a recorded step: its weights, if they are the first.
  void remember_weights(const StepRecord& row);

 private:
  struct Work;  ///< One probe in progress.

  void probe_jacobians(Work& work);
  void set_z_scores(Work& work, double cotangent_square);
  void probe_nonlinearity(const Work& work, const at::Tensor& at_first);
  void probe_singular_values(Work& work);
  void probe_curvature(Work& work);
  double first_squared_norm(int parameter);
  template <typename Body>
  void attempt(const char* what, const std::string& subject, Body&& body);
  void note(const std::string& subject, const std::string& text);

  const WatchedParameters& parameters_;
  std::vector<double> first_norms_;  ///< By parameter, of the first recorded or probed step.
  double nonlinearity_ = std::numeric_limits<double>::quiet_NaN();
  double curvature_ = std::numeric_limits<double>::quiet_NaN();
  std::vector<std::pair<std::string, std::string>> notes_;  ///< Subject and text of this step's events.
  std::set<std::string> told_;
};

}  // namespace gradhealth::hooks
