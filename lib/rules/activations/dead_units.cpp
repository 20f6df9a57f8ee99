#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/loss_track.h"
#include "rules/support/operators.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "dead-units";

class DeadUnits final : public Judge {
 public:
  explicit DeadUnits(const RuleOptions& options)
      : error_(options.at("error-fraction")),
        warning_(options.at("warning-fraction")),
        silent_steps_(options.at("silent-steps")),
        most_(options.at("max-findings")) {}

  void observe(const Run& run, const StepRecord& record) override {
    ++steps_;
    loss_.observe(record);
    if (const double rate = record.at(Quantity::kLearningRate); std::isfinite(rate)) rate_ = rate;
    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    for (std::size_t i = layers_.size(); i < activations.size(); ++i) {
      layers_.emplace_back();
      layers_.back().judged = gives_exact_zeros(activations[i].kind);
      if (!layers_.back().judged) continue;
      layers_.back().subject = activations[i];
      for (const Subject& parameter : run.of(Axis::kParameter))
        if (parameter.module == activations[i].module && parameter.kind == "weight")
          layers_.back().weight = parameter.name;
    }
    for (std::size_t i = 0; i < layers_.size(); ++i)
      if (layers_[i].judged) observe_layer(layers_[i], record, i);
  }

  std::size_t alarms() const override { return alarms_; }

  Outcome outcome() const override {
    std::vector<Finding> findings;
    std::size_t judged = 0;
    std::size_t known = 0;
    for (const Layer& layer : layers_) {
      judged += layer.judged ? 1 : 0;
      known += layer.judged && !std::isnan(layer.dead) ? 1 : 0;
      if (severity(layer)) findings.push_back(finding(layer));
    }
    if (!findings.empty()) return unhealthy(std::move(findings), most_);
    if (steps_ == 0) return too_few_steps(0, 20);
    if (judged == 0) return NotEvaluated{"no activation function was recorded whose units can die (ReLU and the like)"};
    if (known == 0) return NotEvaluated{"needs units watched over at least 20 recorded steps and 1,000 samples"};
    return Healthy{};
  }

 private:
  struct Layer {
    bool judged = false;
    Subject subject;
    std::string weight;      ///< Of the module in front; empty if it has none.
    double dead = NAN;       ///< Latest share of dead units.
    double zeros = NAN;      ///< Latest share of zeros.
    std::size_t silent = 0;  ///< Recorded steps in a row with nothing but zeros.
    std::int64_t silent_since = 0;
    std::optional<std::int64_t> many_zeros_since;  ///< Zeros at or above the threshold for an error …
    std::optional<std::int64_t> some_zeros_since;  ///< … and for a warning.
    std::int64_t last_step = 0;
    std::optional<Severity> worst;
  };

  void observe_layer(Layer& layer, const StepRecord& record, std::size_t index) {
    const double zeros = record.at(Quantity::kActivationZeroFraction, index);
    if (!std::isnan(zeros)) {
      layer.zeros = zeros;
      if (zeros < 1)
        layer.silent = 0;
      else if (layer.silent++ == 0)
        layer.silent_since = record.step;
      since(layer.many_zeros_since, zeros >= error_, record.step);
      since(layer.some_zeros_since, zeros >= warning_, record.step);
    }
    const double dead = record.at(Quantity::kActivationDeadFraction, index);
    if (!std::isnan(dead)) layer.dead = dead;
    const auto now = severity(layer);
    if (!now) return;
    layer.last_step = record.step;
    if (!layer.worst || *now > *layer.worst) {
      layer.worst = now;
      ++alarms_;
    }
  }

  static void since(std::optional<std::int64_t>& onset, bool holds, std::int64_t step) {
    if (!holds)
      onset.reset();
    else if (!onset)
      onset = step;
  }

  bool is_silent(const Layer& layer) const { return static_cast<double>(layer.silent) >= silent_steps_; }

  std::optional<Severity> severity(const Layer& layer) const {
    if (layer.dead >= error_ || is_silent(layer)) return Severity::kError;
    if (!(layer.dead >= warning_)) return std::nullopt;
    // A net that learns well has units to spare.
    const bool learns = loss_.fell_by(0.5) && (!loss_.risen_step() || loss_.recovered());
    return learns ? Severity::kInfo : Severity::kWarning;
  }

  Finding finding(const Layer& layer) const {
    Finding finding;
    finding.rule = kId;
    finding.severity = *severity(layer);
    finding.confidence = 0.9;
    finding.subject = ref(layer.subject);
    finding.last_step = layer.last_step;
    const bool error = finding.severity == Severity::kError;
    if (is_silent(layer) && !(layer.dead >= error_)) {
      finding.first_step = layer.silent_since;
      finding.message = fmt::format(
          "All {} units of {} have been zero for every sample of {} recorded steps, since step "
          "{}: no gradient passes it any more.",
          layer.subject.size, layer.subject.name, layer.silent, layer.silent_since);
      finding.evidence.push_back(
          evidence("share of zeros", layer.zeros, "≥", 1, Quantity::kActivationZeroFraction, layer.subject.name));
      finding.evidence.push_back(evidence("recorded steps in a row", static_cast<double>(layer.silent), "≥",
                                          silent_steps_, Quantity::kActivationZeroFraction, layer.subject.name));
    } else {
      const double limit = error ? error_ : warning_;
      finding.first_step = (error ? layer.many_zeros_since : layer.some_zeros_since).value_or(layer.last_step);
      finding.message = fmt::format(
          "{} % of the {} units of {} are dead: zero for every sample of at least 20 recorded "
          "steps. The share of zeros is high since step {}.",
          number(100 * layer.dead), layer.subject.size, layer.subject.name, finding.first_step);
      finding.evidence.push_back(evidence("share of dead units", layer.dead, "≥", limit,
                                          Quantity::kActivationDeadFraction, layer.subject.name));
    }
    finding.recommendations.push_back(lower_learning_rate(rate_, 10, 0.4));
    Recommendation leaky;
    leaky.id = "use-leaky-relu";
    leaky.text = fmt::format("Use leaky ReLU at {}.", layer.subject.name);
    leaky.why = "Its derivative is never 0, so that a unit that was pushed below zero can come back.";
    leaky.code = "x = torch::leaky_relu(x, 0.01);";
    leaky.confidence = 0.5;
    if (!layer.weight.empty()) finding.recommendations.insert(finding.recommendations.begin(), he_init({layer.weight}));
    finding.recommendations.push_back(std::move(leaky));
    return finding;
  }

  double error_;
  double warning_;
  double silent_steps_;
  double most_;
  std::size_t steps_ = 0;
  std::size_t alarms_ = 0;
  std::optional<double> rate_;
  LossTrack loss_;
  std::vector<Layer> layers_;
};

}  // namespace

Rule dead_units() {
  RuleInfo info;
  info.id = kId;
  info.title = "Units are dead";
  info.meaning =
      "Units of a ReLU layer are zero for every input. Their derivative is zero as well, so no gradient reaches their "
      "weights and they stay as they are: capacity is lost for good, and if a whole layer is dead, nothing in front "
      "of it learns any more.";
  info.method =
      "A unit (a channel, for convolutions) is dead when it was zero for every sample of at least 20 recorded steps "
      "and 1,000 samples. Judged only where the operator gives exact zeros. A layer whose whole output is zero for "
      "several recorded steps in a row is dead before that window is full. The onset is the step since which the share "
      "of zeros has been as high.";
  info.limits =
      "Healthy ReLU layers are 50 to 90 % zeros in every batch; that alone is nothing. A unit that only rare inputs "
      "wake may be counted as dead.";
  info.options = {
      {"error-fraction", 0.9, "Share of a layer's units that are dead, for an error.",
       "Practitioner review; a layer that "
       "is nearly cut off."},
      {"warning-fraction", 0.5,
       "Share of a layer's units that are dead, for a warning; information while the loss is below half of its start.",
       "Amazon SageMaker Debugger, "
       "DyingRelu: 50 %."},
      {"silent-steps", 10, "Recorded steps in a row in which a layer gives nothing but zeros, for an error.",
       "Ten batches: chance cannot do it, and instant faults are told within ten steps."},
      {"max-findings", 8, "Layers that get a finding of their own.", "What a person reads."},
  };
  info.references = {"Lu et al., Dying ReLU and Initialization, arXiv 1903.06733",
                     "Maas et al., Rectifier nonlinearities improve neural network acoustic models, 2013"};
  info.effects = {{"vanishing-gradient"}, {"jacobian-growth"},         {"zero-gradient"}, {"vanishing-activation"},
                  {"collapsed-output"},   {"no-better-than-constant"}, {"plateaued-loss"}};
  return make_rule<DeadUnits>(std::move(info));
}

}  // namespace gradhealth::rules
