#pragma once

#include <string>

#include <gradhealth/run.h>

#include "rules/support/loss_operators.h"
#include "stats/moments.h"

namespace gradhealth::rules {

/// What the loss would be if the model gave the same best answer for every sample.
class ConstantLoss {
 public:
  void observe(const StepRecord& record);

  /// Entropy of the classes, variance of the targets, or entropy of the base rate, in the loss's unit. NaN if the loss
  /// is not made by one such operator with the mean over the batch, or all targets are the same.
  double value() const;
  std::string words() const;  ///< "the entropy of the classes".
  const LossOperators& operators() const { return operators_; }
  const stats::Moments& targets() const { return targets_; }  ///< Of floating-point targets.

 private:
  double entropy_of_base_rate() const;

  LossOperators operators_;
  stats::Moments targets_;
  double entropy_ = 0;
  double least_ = 0;
  double most_ = 1;
};

}  // namespace gradhealth::rules
