#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include <gradhealth/hooks.h>

#include "hooks/interventions/healthy_states.h"
#include "hooks/interventions/learned_threshold.h"
#include "hooks/steps/loss_watch.h"

namespace gradhealth::hooks {

/// What the trainer has allowed the monitor to do to the training, and what it takes to do it.
class Intervener {
 public:
  Intervener(const Interventions& wanted, const NamedTensors& buffers);

  struct Clipping {
    double norm = 0;  ///< Before.
    double threshold = 0;
  };
  /// Before the step is recorded: whether its gradients are to be clipped.
  std::optional<Clipping> begin_step(std::int64_t step, const std::vector<at::Tensor>& parameters);
  /// After it: learns from a healthy one, and keeps its state if that is due. @param errors found so far.
  void end_step(std::int64_t step, const at::Tensor& loss, const std::vector<at::Tensor>& parameters,
                const torch::optim::Optimizer* optimizer, const std::vector<Finding>& errors);

  /// The first error that was not thrown yet, if errors are to be thrown; of several at once only that one.
  std::optional<Finding> to_throw(const std::vector<Finding>& errors);
  bool found_error(const std::vector<Finding>& errors) const noexcept { return errors.size() > forgiven_; }
  /// @returns the step to which the training is back; nothing if it is where it was.
  std::optional<std::int64_t> roll_back(const std::vector<Finding>& errors, torch::optim::Optimizer* optimizer);

 private:
  bool keeps(std::int64_t step) const;

  Interventions wanted_;
  std::vector<at::Tensor> buffers_;
  std::optional<LearnedThreshold> learned_;
  std::optional<double> norm_;  ///< Of the step in progress, before clipping; only where it is needed.
  LossWatch loss_watch_;
  HealthyStates states_;
  std::optional<std::int64_t> kept_;  ///< The latest step.
  std::size_t thrown_ = 0;
  std::size_t forgiven_ = 0;  ///< Errors before the last roll_back().
};

}  // namespace gradhealth::hooks
