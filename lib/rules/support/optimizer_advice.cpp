#include "rules/support/optimizer_advice.h"

#include <algorithm>

#include <fmt/format.h>

#include "rules/support/rule_support.h"

namespace gradhealth::rules {

Recommendation raise_learning_rate(std::optional<double> rate, double factor, double confidence) {
  Recommendation advice;
  advice.id = "raise-learning-rate";
  advice.confidence = confidence;
  advice.why = "Steps that are tiny against the weights cost as much as useful ones and lead nowhere.";
  const std::string guess = confidence < 0.5 ? " (a guess: the factor is not measured)" : "";
  if (rate && *rate > 0) {
    const double higher = std::stod(fmt::format("{:.0e}", *rate * factor));
    advice.text = fmt::format("Raise the learning rate from {} to {}{}.", number(*rate), number(higher), guess);
    advice.code =
        fmt::format("for (auto& group : optimizer.param_groups()) group.options().set_lr({});", literal(higher));
    advice.values = {{"lr", {higher}}};
  } else {
    advice.text = fmt::format("Multiply the learning rate by {}{}.", number(factor), guess);
    advice.code = fmt::format(
        "for (auto& group : optimizer.param_groups())\n"
        "  group.options().set_lr(group.options().get_lr() * {});",
        literal(factor));
    advice.values = {{"factor", {factor}}};
  }
  return advice;
}

Recommendation zero_grad() {
  Recommendation advice;
  advice.id = "zero-grad";
  advice.text = "Call optimizer.zero_grad() once for every update, before backward().";
  advice.why =
      "backward() adds to the gradients that are there; without zeroing, every update repeats all former ones.";
  advice.code = "optimizer.zero_grad();\nloss.backward();\noptimizer.step();";
  advice.confidence = 0.9;
  return advice;
}

Recommendation rebuild_optimizer(const RunInfo& run, std::optional<double> rate) {
  Recommendation advice;
  advice.id = "rebuild-optimizer";
  advice.text = "Build the optimizer from the parameters of the model that is trained, after the model is final.";
  advice.why = "Moving, cloning or reassigning modules leaves the optimizer with tensors that nothing uses.";
  const bool adam = run.optimizer.rfind("Adam", 0) == 0;
  const double lr = rate && *rate > 0 ? *rate : adam ? 0.001 : 0.01;
  advice.code = adam ? fmt::format("torch::optim::{0} optimizer(net->parameters(), torch::optim::{0}Options({1}));",
                                   run.optimizer == "AdamW" ? "AdamW" : "Adam", literal(lr))
                     : fmt::format(
                           "torch::optim::SGD optimizer(net->parameters(), "
                           "torch::optim::SGDOptions({}).momentum({}));",
                           literal(lr), literal(run.momentum.value_or(0)));
  advice.confidence = 0.7;
  advice.values = {{"lr", {lr}}};
  return advice;
}

Recommendation warm_up(double rate, std::int64_t steps) {
  Recommendation advice;
  advice.id = "warm-up";
  advice.text = fmt::format("Raise the learning rate linearly to {} over the first {} steps.", number(rate), steps);
  advice.why =
      "Adam divides by a second moment that it knows from a few batches only; its first steps are the wildest.";
  advice.code = fmt::format(
      "static double updates = 0;\n"
      "const double warm = std::min(1.0, ++updates / {});\n"
      "for (auto& group : optimizer.param_groups()) group.options().set_lr({} * warm);",
      literal(static_cast<double>(steps)), literal(rate));
  advice.confidence = 0.7;
  advice.values = {{"lr", {rate}}, {"steps", {static_cast<double>(steps)}}};
  return advice;
}

Recommendation keep_float_weights(const std::string& dtype) {
  Recommendation advice;
  advice.id = "keep-float-weights";
  advice.text = fmt::format("Keep the weights in single precision and compute in {} only.", dtype);
  advice.why =
      "An update smaller than half the distance to the next representable weight is lost; single precision has "
      "distances thousands of times smaller.";
  advice.code = fmt::format(
      "net->to(torch::kFloat32);  // before the optimizer is built\n"
      "// where half precision pays, cast inside forward: torch::linear(x.to({0}), weight.to({0}))\n"
      "x = x.to(torch::kFloat32);",
      dtype == "float16" ? "torch::kHalf" : "torch::kBFloat16");
  advice.confidence = 0.8;
  return advice;
}

Recommendation restart_from_checkpoint(std::optional<std::int64_t> last_healthy) {
  Recommendation advice;
  advice.id = "restart-from-checkpoint";
  advice.why = "What is not a number stays so: every later update keeps it.";
  advice.confidence = 0.8;
  if (last_healthy) {
    advice.text = fmt::format(
        "Load model and optimizer from a checkpoint of step {} or before, and remove the cause before going on.",
        *last_healthy);
    advice.values = {{"last_healthy_step", {static_cast<double>(*last_healthy)}}};
  } else {
    advice.text = "Start anew, and check what is loaded: it was not finite from the beginning.";
  }
  advice.code =
      "torch::load(net, \"checkpoint.pt\");\n"
      "torch::load(optimizer, \"optimizer.pt\");\n"
      "for (const auto& b : net->named_buffers())\n"
      "  TORCH_CHECK(torch::isfinite(b.value()).all().item<bool>(), b.key(), \" is not finite\");";
  return advice;
}

}  // namespace gradhealth::rules
