#include "hooks/recording/row_completion.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "hooks/capture/training_calls.h"
#include "hooks/steps/vital_signs.h"

namespace gradhealth::hooks {

void set_loss(double value, StepRecord& row) {
  row.set(Quantity::kLoss, value);
  row.set(Quantity::kLossNonfinite, std::isfinite(value) ? 0 : 1);
}

/// What only a device knew, of a step that may not have been meant to be recorded.
bool RowCompletion::record_late(StepInFlight& step) {
  bool suspicious = false;
  if (step.late_loss.filled()) {
    const double value = step.readback->values(step.late_loss).front();
    set_loss(value, step.row);
    suspicious = loss_watch_.suspicious(value);
  }
  if (step.late_gradient_sample.filled())
    suspicious |= !std::isfinite(step.readback->values(step.late_gradient_sample).front());
  if (suspicious) step.purpose = StepInFlight::Purpose::kRecord;
  return suspicious;
}

bool RowCompletion::record_values(StepInFlight& step) {
  const Readback& readback = *step.readback;
  const bool suspicious = record_late(step);
  complete(step.calls, readback);
  for (InputSums& input : step.facts.given_inputs) complete(input, readback);
  const TrainingCalls training(step.calls);
  loss_recorder_.record(step.facts, step.calls, training, step.row);
  activation_recorder_.record(std::move(step.calls), training, step.facts.given_inputs, run_, step.row);
  if (step.has_parameters) parameters_.record(step.parameters, readback, step.row);
  return suspicious || has_nonfinite(step.row);
}

void RowCompletion::record_update(StepInFlight& step) {
  if (!step.has_parameters) return;
  StepRecord& row = step.row;
  parameters_.record_update(step.parameters, *step.update_readback, row);
  // A trainer that ends between step() and its update leaves weights that did not change: that says nothing.
  const std::vector<double>& ratios = row.values(Quantity::kUpdateRatio);
  if (step.run_ended_before_update && std::all_of(ratios.begin(), ratios.end(), [](double r) { return !(r > 0); }))
    for (const Quantity effect : {Quantity::kUpdateRatio, Quantity::kUnchangedFraction})
      row.assign(effect, static_cast<const float*>(nullptr), 0);
}

}  // namespace gradhealth::hooks
