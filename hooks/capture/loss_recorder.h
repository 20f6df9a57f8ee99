#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <gradhealth/run.h>

#include "hooks/capture/activation_call.h"
#include "hooks/capture/operator_notes.h"
#include "hooks/capture/training_calls.h"

namespace gradhealth::hooks {

/// Turns what a step's operators told of its loss into quantities and events: its targets and predictions, how it is
/// computed, and which normalisations and dropouts were in training mode.
class LossRecorder {
 public:
  void record(const StepFacts& facts, const std::vector<ActivationCall>& calls, const TrainingCalls& training,
              StepRecord& row);
  /// Whether the last step's loss was a named operator, so that differences of tensors are none.
  bool loss_is_named() const { return loss_is_named_; }

 private:
  void record_targets(const TargetSums& targets, std::int64_t classes, StepRecord& row);
  void tell(const Comparison& loss, const TrainingCalls& training, StepRecord& row);
  void tell(const OperatorPattern& pattern, const TrainingCalls& training, StepRecord& row);
  bool is_new(const std::string& key);

  std::set<std::string> told_;
  std::vector<std::int64_t> class_counts_;  ///< Of all targets so far.
  bool loss_is_named_ = false;
};

}  // namespace gradhealth::hooks
