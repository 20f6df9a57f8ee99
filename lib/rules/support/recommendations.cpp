#include "rules/support/recommendations.h"

#include <algorithm>
#include <cmath>

#include <string>

#include <fmt/format.h>

#include "rules/support/operators.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {

Recommendation clip_gradients(std::optional<double> healthy_p95, double guess) {
  const double limit = healthy_p95.value_or(guess);
  Recommendation advice;
  advice.id = "clip-gradients";
  advice.text = healthy_p95 ? fmt::format(
                                  "Clip the global gradient norm at {}, its 95th percentile while the run was "
                                  "healthy.",
                                  number(limit))
                            : fmt::format(
                                  "Clip the global gradient norm at {}; this is a guess, since no healthy "
                                  "steps were recorded.",
                                  number(limit));
  advice.why = "Bounds the length of every step, whatever a single batch does; it does not remove the cause.";
  advice.code = fmt::format(
      "loss.backward();\n"
      "torch::nn::utils::clip_grad_norm_(net->parameters(), {});\n"
      "optimizer.step();",
      literal(limit));
  advice.confidence = healthy_p95 ? 0.6 : 0.3;
  advice.values = {{"max_norm", {limit}}};
  return advice;
}

Recommendation lower_learning_rate(std::optional<double> rate, double divisor, double confidence) {
  Recommendation advice;
  advice.id = "lower-learning-rate";
  advice.confidence = confidence;
  advice.why = "Steps that are too long for the curvature of the loss make it rise instead of fall.";
  const std::string guess = confidence < 0.5 ? " (a guess: the factor is not measured)" : "";
  if (rate && *rate > 0) {
    // More digits would claim a precision that no estimate of a learning rate has.
    const double lower = std::stod(fmt::format("{:.0e}", *rate / divisor));
    advice.text = fmt::format("Lower the learning rate from {} to {}{}.", number(*rate), number(lower), guess);
    advice.code =
        fmt::format("for (auto& group : optimizer.param_groups()) group.options().set_lr({});", literal(lower));
    advice.values = {{"lr", {lower}}};
  } else {
    advice.text = fmt::format("Divide the learning rate by {}{}.", number(divisor), guess);
    advice.code = fmt::format(
        "for (auto& group : optimizer.param_groups())\n"
        "  group.options().set_lr(group.options().get_lr() / {});",
        literal(divisor));
    advice.values = {{"divisor", {divisor}}};
  }
  return advice;
}

Recommendation add_weight_decay(const std::string& optimizer, std::optional<double> rate,
                                std::optional<double> momentum, std::optional<double> decay) {
  constexpr double kUsualDecay = 1e-4;
  const double strength = decay.value_or(kUsualDecay);
  Recommendation advice;
  advice.id = "add-weight-decay";
  advice.text = fmt::format(
      "Add weight decay {} on weight matrices ({}); biases, norm scales and "
      "embeddings stay without.",
      number(strength), decay ? "what balances their measured growth" : "a guess, the usual size");
  advice.why = "Keeps weights from growing without bound, and with them activations and gradients.";
  const bool adam = optimizer.find("Adam") != std::string::npos;
  const double lr = rate && *rate > 0 ? *rate : adam ? 1e-3 : 1e-2;
  const std::string options =
      adam ? fmt::format("torch::optim::AdamWOptions({})", literal(lr))
           : fmt::format("torch::optim::SGDOptions({}).momentum({})", literal(lr), literal(momentum.value_or(0)));
  advice.code = fmt::format(
      "std::vector<torch::Tensor> decayed, plain;\n"
      "for (const auto& p : net->named_parameters()) {{\n"
      "  const bool embedding = p.key().find(\"embed\") != std::string::npos;\n"
      "  (p.value().dim() > 1 && !embedding ? decayed : plain).push_back(p.value());\n"
      "}}\n"
      "torch::optim::{0} optimizer(std::vector<torch::optim::OptimizerParamGroup>{{\n"
      "    {{decayed, std::make_unique<torch::optim::{0}Options>({1}.weight_decay({2}))}},\n"
      "    {{plain, std::make_unique<torch::optim::{0}Options>({1}.weight_decay(0))}}}},\n"
      "    {1});",
      adam ? "AdamW" : "SGD", options, literal(strength));
  advice.confidence = decay ? 0.6 : 0.3;
  advice.values = {{"weight_decay", {strength}}};
  return advice;
}

Recommendation shuffle_data(double batch) {
  Recommendation advice;
  advice.id = "shuffle-data";
  advice.text = "Shuffle the training data: give the loader a RandomSampler.";
  advice.why =
      "Gradients of sorted data point to one class at a time; the model forgets the last class while it learns the "
      "next.";
  advice.code = fmt::format(
      "auto shuffled = torch::data::make_data_loader<torch::data::samplers::RandomSampler>(\n"
      "    dataset, torch::data::DataLoaderOptions().batch_size({:.0f}));",
      batch);
  advice.confidence = 0.9;
  return advice;
}

Recommendation he_init(const std::vector<std::string>& weights) {
  Recommendation advice;
  advice.id = "he-init";
  advice.text =
      fmt::format("Initialise {} for ReLU (He), with zero biases, and train from the start.", list_of(weights, 3));
  advice.why = "Keeps the size of the signal from layer to layer, so that units start on both sides of zero.";
  advice.confidence = 0.5;
  for (std::size_t i = 0; i < std::min<std::size_t>(weights.size(), 8); ++i)
    advice.code += fmt::format(
        "{}torch::nn::init::kaiming_normal_(net->named_parameters()[\"{}\"], 0.0, torch::kFanIn, torch::kReLU);",
        i == 0 ? "" : "\n", weights[i]);
  return advice;
}

Recommendation use_relu(const std::string& function) {
  Recommendation advice;
  advice.id = "use-relu";
  advice.text = fmt::format("Use ReLU instead of {} between the layers, and initialise for it (He).", function);
  advice.why = function == "sigmoid" ? "The derivative of a sigmoid is at most 1/4: every layer divides the gradient."
                                     : "A saturated unit has derivative 0: every layer shrinks the gradient.";
  advice.code =
      "x = torch::relu(x);\n"
      "// and once, before training:\n"
      "for (torch::Tensor weight : net->parameters())\n"
      "  if (weight.dim() > 1) torch::nn::init::kaiming_normal_(weight, 0.0, torch::kFanIn, torch::kReLU);";
  advice.confidence = 0.8;
  advice.values = {{"gain", {std::sqrt(2.0)}}};
  return advice;
}

Recommendation add_norm_layer(const std::string& module, const std::string& kind, std::int64_t units) {
  Recommendation advice;
  advice.id = "add-norm-layer";
  advice.confidence = 0.6;
  const bool conv = operator_name(kind).find("conv") != std::string::npos;
  const std::string type = conv ? "BatchNorm2d" : "LayerNorm";
  advice.text = fmt::format("Put a {} behind {} and behind the layers like it.", type, module);
  advice.why = "Sets the scale of the signal anew in every layer, forward and backward.";
  const std::int64_t features = std::max<std::int64_t>(units, 1);
  advice.code = conv ? fmt::format(
                           "auto norm = net->register_module(\"norm\", torch::nn::BatchNorm2d({}));\n"
                           "// in forward, behind {}:\nx = norm->forward(x);",
                           features, module)
                     : fmt::format(
                           "auto norm = net->register_module(\"norm\", torch::nn::LayerNorm("
                           "torch::nn::LayerNormOptions({{{}}})));\n"
                           "// in forward, behind {}:\nx = norm->forward(x);",
                           features, module);
  return advice;
}

}  // namespace gradhealth::rules
