#pragma once

#include <string>

#include <gradhealth/rules.h>

#include "rules/support/loss_operators.h"

/// Advice on how the loss is made, as LibTorch code that repairs it without a change of the model.
namespace gradhealth::rules {

/// The model ends in an activation function that the loss applies again.
Recommendation pass_logits(const LossOperator& loss);

/// Class scores into a loss that takes log-probabilities.
Recommendation use_log_softmax(const LossOperator& loss);

/// Targets in the shape of the predictions.
Recommendation match_target_shape(const std::string& operation);

/// Instead of the logarithm of a softmax.
Recommendation use_stable_loss();

}  // namespace gradhealth::rules
