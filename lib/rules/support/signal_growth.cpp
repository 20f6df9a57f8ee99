#include "rules/support/signal_growth.h"

#include <algorithm>

#include <fmt/format.h>

#include "rules/support/init_advice.h"
#include "rules/support/new_finding.h"
#include "rules/support/operators.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

bool saturates(const std::string& kind) {
  const std::string op = operator_name(kind);
  return op == "sigmoid" || op == "tanh";
}

}  // namespace

SignalGrowthJudge::SignalGrowthJudge(const char* rule, double growth, const RuleOptions& options)
    : rule_(rule),
      log_growth_(std::log(growth)),
      min_layers_(static_cast<std::size_t>(options.at("min-layers"))),
      min_steps_(options.at("min-steps")),
      persistence_(min_steps_, 1) {}

void SignalGrowthJudge::observe(const Run& run, const StepRecord& record) {
  harm_.observe(run, record);
  const std::vector<Subject>& activations = run.of(Axis::kActivation);
  if (hidden_ != activations.size()) {
    hidden_ = activations.size();
    layers_.update(run);
    weights_.clear();
    for (const Layer& layer : layers_.all()) weights_.push_back(run.of(Axis::kParameter)[layer.parameter].name);
    saturating_ = std::any_of(activations.begin(), activations.end(),
                              [](const Subject& activation) { return saturates(activation.kind); });
  }
  const SignalProfile profile = signal_profile(record, layers_, scratch_);
  if (profile.layers < min_layers_ || profile.layers < 2) return;
  profile_ = profile;
  ++steps_;
  if (first_.name != activations[profile.first].name) first_ = activations[profile.first];
  if (last_.name != activations[profile.last].name) last_ = activations[profile.last];
  typical_.push(profile.typical);
  growths_.push(profile.growth);
  persistence_.observe(profile.is_geometric(log_growth_), record.step);
  const auto now = severity();
  alarm_.set(now ? static_cast<std::size_t>(*now) + 1 : 0);
}

std::optional<Severity> SignalGrowthJudge::severity() const {
  if (!persistence_.holds()) return std::nullopt;
  if (harm_.any()) return Severity::kError;
  return harm_.learns() ? Severity::kInfo : Severity::kWarning;
}

Outcome SignalGrowthJudge::outcome() const {
  if (const auto now = severity()) return unhealthy({finding(*now)});
  if (steps_ == 0)
    return NotEvaluated{
        fmt::format("needs the outputs of at least {} layers with weights before the last", min_layers_)};
  if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
  return Healthy{};
}

Finding SignalGrowthJudge::finding(Severity severity) const {
  const double factor = std::exp(typical_.median());
  const double growth = std::exp(growths_.median());
  const bool shrinks = log_growth_ < 0;
  Finding finding = new_finding(
      rule_, severity, 0.8, ref(shrinks ? first_ : last_), {*persistence_.since(), persistence_.last()},
      fmt::format("From {} to {}, over {} layers, the signal {} by a factor {} a layer, {} in all, since step {}; {}.",
                  first_.name, last_.name, profile_.layers, shrinks ? "shrinks" : "grows", number(factor),
                  number(growth), *persistence_.since(), harm_.words()));
  finding.evidence.push_back(evidence(fmt::format("RMS of {} over that of {}", last_.name, first_.name), growth,
                                      shrinks ? "<" : ">", std::exp(log_growth_), Quantity::kActivationRms,
                                      last_.name));
  std::vector<WeightGain> gains;
  for (const std::string& weight : weights_) gains.push_back({weight, std::clamp(1 / factor, 0.01, 100.0)});
  finding.recommendations.push_back(saturating_ ? glorot_init(weights_) : he_init(weights_));
  finding.recommendations.push_back(add_norm_layer(first_.module, first_.kind, first_.size));
  if (!saturating_) finding.recommendations.push_back(scale_init(gains));
  return finding;
}

std::vector<OptionInfo> signal_growth_options() {
  return {
      {"min-layers", 4, "Hidden layers with weights, below which there is no depth to speak of.",
       "Growth over fewer is the scale of single layers."},
      min_steps_option(5),
  };
}

}  // namespace gradhealth::rules
