#include "rules/support/loss_advice.h"

#include <fmt/format.h>

namespace gradhealth::rules {

Recommendation pass_logits(const LossOperator& loss) {
  Recommendation advice;
  advice.id = "pass-logits";
  const bool binary = is_binary_loss(loss.name);
  advice.text = fmt::format("Remove the {} in front of {}: it expects logits.", loss.produced_by, loss.name);
  advice.why =
      "The loss applies that function itself. Applied twice, the differences between its inputs are at most 1, so that "
      "it cannot come near 0 and its gradients are small.";
  const std::string repair =
      binary ? "loss = torch::binary_cross_entropy(output, target);"
      : loss.produced_by == "sigmoid"
          ? "loss = torch::nn::functional::cross_entropy(torch::logit(output, 1e-6), target);"
          : "loss = torch::nn::functional::nll_loss(torch::log(output.clamp_min(1e-7)), target);";
  advice.code = fmt::format(
      "// best: let forward return what its last layer gives, without {}, and keep {};\n"
      "// with the {} left in the model:\n{}",
      loss.produced_by, loss.name, loss.produced_by, repair);
  advice.confidence = 0.9;
  return advice;
}

Recommendation use_log_softmax(const LossOperator& loss) {
  Recommendation advice;
  advice.id = "use-log-softmax";
  advice.why = "nll_loss only picks the target's number and negates it; it is a likelihood only of log-probabilities.";
  if (loss.produced_by == "softmax") {
    advice.text = "Take the logarithm of the probabilities, or better use log_softmax for softmax.";
    advice.code = "loss = torch::nn::functional::nll_loss(torch::log(output.clamp_min(1e-7)), target);";
  } else {
    advice.text = "Put a log_softmax in front of nll_loss, or use cross_entropy, which has both.";
    advice.code = "loss = torch::nn::functional::nll_loss(torch::log_softmax(output, 1), target);";
  }
  advice.confidence = 0.9;
  return advice;
}

Recommendation match_target_shape(const std::string& operation) {
  Recommendation advice;
  advice.id = "match-target-shape";
  advice.text = "Bring the targets into the shape of the predictions.";
  advice.why =
      "Shapes that differ are broadcast: every prediction is compared with every target, and the best answer to all of "
      "them is their mean.";
  advice.code = fmt::format(
      "target = target.reshape(output.sizes());\n"
      "loss = {};",
      loss_call(is_regression_loss(operation) || is_binary_loss(operation) ? operation : "mse_loss", "target"));
  advice.confidence = 0.95;
  return advice;
}

Recommendation use_stable_loss() {
  Recommendation advice;
  advice.id = "use-stable-loss";
  advice.text = "Give logits to a loss that combines softmax and logarithm.";
  advice.why = "log(softmax(x)) is -infinity as soon as one probability underflows; the combined form is not.";
  advice.code =
      "auto loss = torch::nn::functional::cross_entropy(logits, target);  // logits: no softmax before\n"
      "// two classes: torch::binary_cross_entropy_with_logits(logits, target);\n"
      "// by hand: torch::nll_loss(torch::log_softmax(logits, 1), target);";
  advice.confidence = 0.7;
  return advice;
}

}  // namespace gradhealth::rules
