#pragma once

#include <memory>
#include <vector>

#include <gradhealth/run.h>

#include "hooks/capture/parameter_recorder.h"
#include "hooks/capture/step_capture.h"
#include "hooks/statistics/readback.h"

namespace gradhealth::hooks {

/// A step on its way into the file. It waits for its update, and for the numbers that a device still owes.
struct StepInFlight {
  enum class Purpose : std::uint8_t {
    kRecord,
    kWatch,  ///< Not recorded, unless its loss or gradients turn out to be suspicious.
  };

  Purpose purpose = Purpose::kRecord;
  StepRecord row;  ///< So far: what the host knew at once.
  std::shared_ptr<Readback> readback;
  ReadbackSlot late_loss;
  ReadbackSlot late_gradient_sample;
  std::vector<ActivationCall> calls;
  StepFacts facts;
  ParameterReadings parameters;
  bool has_parameters = false;
  bool values_recorded = false;  ///< All but the update's effect is in `row`.
  /// Set when the update has been read; of the effect on weights on a device.
  std::shared_ptr<Readback> update_readback;
  bool run_ended_before_update = false;

  /// Makes it a fresh one; keeps the memory.
  void clear();
};

}  // namespace gradhealth::hooks
