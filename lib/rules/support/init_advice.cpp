#include "rules/support/init_advice.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>

#include <fmt/format.h>

#include "rules/support/event_fields.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr std::size_t kShown = 8;  ///< Weights that the code names.

}  // namespace

bool sums_products(const std::string& operator_kind) {
  static constexpr std::array<std::string_view, 8> kParts{"mm",   "linear", "conv", "matmul",
                                                          "lstm", "gru",    "rnn",  "attention"};
  return std::any_of(kParts.begin(), kParts.end(),
                     [&](std::string_view part) { return operator_kind.find(part) != std::string::npos; });
}

std::vector<std::int64_t> sizes_of(const std::string& shape) {
  std::vector<std::int64_t> sizes;
  for (const std::string& part : split(shape, 'x')) {
    if (part.empty() || part.size() > 12 || part.find_first_not_of("0123456789") != std::string::npos) return {};
    sizes.push_back(std::stoll(part));
  }
  return sizes;
}

double init_gain(const Subject& weight, const std::string& operator_kind, double weight_norm) {
  const std::vector<std::int64_t> sizes = sizes_of(weight.shape);
  if (sizes.size() < 2 || weight.size <= 0 || sizes[0] <= 0 || sizes[1] <= 0)
    return std::numeric_limits<double>::quiet_NaN();
  const bool transposed = operator_kind.find("transpose") != std::string::npos;
  const double units = static_cast<double>(transposed ? sizes[1] : sizes[0]);
  const double fan_in = static_cast<double>(weight.size) / units;
  return weight_norm / std::sqrt(static_cast<double>(weight.size)) * std::sqrt(fan_in);
}

Recommendation glorot_init(const std::vector<std::string>& weights) {
  Recommendation advice;
  advice.id = "glorot-init";
  advice.text = fmt::format("Initialise {} for tanh or sigmoid (Glorot), with zero biases, and train from the start.",
                            list_of(weights, 3));
  advice.why = "Keeps the size of signal and gradient from layer to layer, in the range where the function is steep.";
  advice.confidence = 0.6;
  for (std::size_t i = 0; i < std::min(weights.size(), kShown); ++i)
    advice.code += fmt::format("{}torch::nn::init::xavier_normal_(net->named_parameters()[\"{}\"]);",
                               i == 0 ? "" : "\n", weights[i]);
  return advice;
}

Recommendation scale_init(const std::vector<WeightGain>& gains) {
  Recommendation advice;
  advice.id = "scale-init";
  std::vector<std::string> names;
  std::vector<double> factors;
  advice.code = "{\n  torch::NoGradGuard no_grad;\n";
  for (std::size_t i = 0; i < std::min(gains.size(), kShown); ++i) {
    names.push_back(fmt::format("{} by {}", gains[i].weight, number(gains[i].gain)));
    factors.push_back(gains[i].gain);
    advice.code +=
        fmt::format("  net->named_parameters()[\"{}\"].mul_({});\n", gains[i].weight, literal(gains[i].gain));
  }
  advice.code += "}";
  advice.text = fmt::format("Multiply the initial weights: {}.", list_of(names, 3));
  advice.why = "These are the factors that bring the measured weights to the scale that keeps the signal's size.";
  advice.confidence = 0.6;
  advice.values = {{"gain", factors}};
  return advice;
}

Recommendation random_init(const std::string& weight) {
  Recommendation advice;
  advice.id = "random-init";
  advice.text = fmt::format("Initialise {} at random, every unit differently.", weight);
  advice.why = "Units that start equal get equal gradients and stay equal; a layer of them is one unit.";
  advice.code =
      fmt::format("torch::nn::init::kaiming_uniform_(net->named_parameters()[\"{}\"], std::sqrt(5.0));", weight);
  advice.confidence = 0.9;
  return advice;
}

}  // namespace gradhealth::rules
