#pragma once

#include <gradhealth/run.h>

#include "hooks/capture/activation_recorder.h"
#include "hooks/capture/loss_recorder.h"
#include "hooks/steps/loss_watch.h"
#include "hooks/steps/step_in_flight.h"

namespace gradhealth::hooks {

void set_loss(double value, StepRecord& row);

/// Turns what was read of a step into its row, once the numbers of a device have arrived.
class RowCompletion {
 public:
  /// @param loss_watch looks at losses that come late.
  RowCompletion(Run& run, ParameterRecorder& parameters, LossWatch& loss_watch)
      : run_(run), parameters_(parameters), loss_watch_(loss_watch) {}

  /// All but the update's effect. @returns whether something looks wrong.
  bool record_values(StepInFlight& step);
  /// The effect of the update.
  void record_update(StepInFlight& step);
  /// Whether the last step's loss was a named operator.
  bool loss_is_named() const { return loss_recorder_.loss_is_named(); }

 private:
  bool record_late(StepInFlight& step);

  Run& run_;
  ParameterRecorder& parameters_;
  LossWatch& loss_watch_;
  ActivationRecorder activation_recorder_;
  LossRecorder loss_recorder_;
};

}  // namespace gradhealth::hooks
