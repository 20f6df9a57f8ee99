#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/event_fields.h"
#include "rules/support/hidden_activations.h"
#include "rules/support/init_advice.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/persistence.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "saturated-activation";

class SaturatedActivation final : public Judge {
 public:
  explicit SaturatedActivation(const RuleOptions& options)
      : fraction_(options.at("fraction")),
        slope_(options.at("mean-slope")),
        min_steps_(options.at("min-steps")),
        share_(options.at("share")),
        most_(options.at("max-findings")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    for (const Event& event : record.events)
      if (event.kind == "loss-operator") compared_ = event.subject;
    hidden_.update(run);
    for (std::size_t i = layers_.size(); i < run.of(Axis::kActivation).size(); ++i) {
      layers_.emplace_back(run, i, min_steps_, share_);
      if (layers_.back().op != Op::kOther) saturating_.push_back(i);
    }
    std::size_t level = 0;
    for (const std::size_t i : saturating_) {
      observe_layer(layers_[i], record, i);
      if (const auto now = severity(i)) level += static_cast<std::size_t>(*now) + 1;
    }
    alarm_.set(level);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    std::vector<Finding> findings;
    std::size_t judged = 0;
    std::size_t steps = 0;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      if (!is_judged(i)) continue;
      ++judged;
      steps = std::max(steps, layers_[i].persistence.count());
      if (severity(i)) findings.push_back(finding(i));
    }
    if (!findings.empty()) return unhealthy(std::move(findings), most_);
    if (judged == 0) return NotEvaluated{"no sigmoid or tanh between two layers was recorded"};
    if (steps == 0) return NotEvaluated{"neither saturation nor moments of sigmoid and tanh were recorded"};
    if (static_cast<double>(steps) < min_steps_) return too_few_steps(steps, min_steps_);
    return Healthy{};
  }

 private:
  enum class Op { kOther, kSigmoid, kTanh };

  struct Layer {
    Layer(const Run& run, std::size_t index, double steps, double share)
        : subject(run.of(Axis::kActivation)[index]), persistence(steps, share) {
      const std::string name = operator_name(subject.kind);
      op = name == "sigmoid" ? Op::kSigmoid : name == "tanh" ? Op::kTanh : Op::kOther;
      for (const Subject& parameter : run.of(Axis::kParameter))
        if (parameter.module == subject.module && parameter.kind == "weight") weight = parameter.name;
    }
    Subject subject;
    Persistence persistence;
    Op op = Op::kOther;
    std::string weight;  ///< Of the module in front; empty if it has none.
    double value = NAN;  ///< Latest saturated fraction, or mean slope.
    bool from_moments = false;
  };

  void observe_layer(Layer& layer, const StepRecord& record, std::size_t index) const {
    const double fraction = record.at(Quantity::kActivationSaturatedFraction, index);
    if (!std::isnan(fraction)) {
      layer.from_moments = false;
      layer.value = fraction;
      layer.persistence.observe(fraction > fraction_, record.step);
      return;
    }
    const double slope = mean_slope(layer.op, record, index);
    if (std::isnan(slope)) return;
    layer.from_moments = true;
    layer.value = slope;
    layer.persistence.observe(slope < slope_, record.step);
  }

  /// Mean derivative over the largest one, which the moments of the output give: tanh' = 1 - y², σ' = y - y².
  static double mean_slope(Op op, const StepRecord& record, std::size_t index) {
    const double rms = record.at(Quantity::kActivationRms, index);
    if (op == Op::kTanh) return 1 - rms * rms;
    return 4 * (record.at(Quantity::kActivationMean, index) - rms * rms);
  }

  bool is_judged(std::size_t index) const {
    return layers_[index].op != Op::kOther && hidden_.is_hidden(index) && layers_[index].subject.name != compared_;
  }

  std::optional<Severity> severity(std::size_t index) const {
    if (!is_judged(index) || !layers_[index].persistence.holds()) return std::nullopt;
    if (harm_.any()) return Severity::kError;
    return harm_.learns() ? Severity::kInfo : Severity::kWarning;
  }

  Finding finding(std::size_t index) const {
    const Layer& layer = layers_[index];
    const std::string what = layer.from_moments ? fmt::format("the mean derivative of {} is {} % of its largest value",
                                                              layer.subject.name, number(100 * layer.value))
                                                : fmt::format("{} % of {} have a derivative near 0",
                                                              number(100 * layer.value), layer.subject.name);
    Finding finding = new_finding(kId, *severity(index), layer.from_moments ? 0.7 : 0.9, ref(layer.subject),
                                  {*layer.persistence.since(), layer.persistence.last()},
                                  fmt::format("Since step {} {}: hardly any gradient passes it; {}.",
                                              *layer.persistence.since(), what, harm_.words()));
    if (layer.from_moments)
      finding.evidence.push_back(evidence("mean derivative over the largest one", layer.value, "<", slope_,
                                          Quantity::kActivationRms, layer.subject.name));
    else
      finding.evidence.push_back(evidence("share of saturated elements", layer.value, ">", fraction_,
                                          Quantity::kActivationSaturatedFraction, layer.subject.name));
    if (!layer.weight.empty() && *layer.persistence.since() < 10)
      finding.recommendations.push_back(glorot_init({layer.weight}));
    const Subject& input = hidden_.own_output(index).value_or(layer.subject);
    finding.recommendations.push_back(add_norm_layer(layer.subject.module, input.kind, layer.subject.size));
    Recommendation relu;
    relu.id = "use-relu";
    relu.text =
        fmt::format("Use ReLU or GELU instead of {} at {}.", operator_name(layer.subject.kind), layer.subject.name);
    relu.why = "They do not saturate for large inputs.";
    relu.code = "x = torch::relu(x);";
    relu.confidence = 0.6;
    finding.recommendations.push_back(std::move(relu));
    return finding;
  }

  double fraction_;
  double slope_;
  double min_steps_;
  double share_;
  double most_;
  LossHarm harm_;
  Alarm alarm_;
  HiddenActivations hidden_;
  std::string compared_;  ///< What the loss compares with the targets.
  std::vector<Layer> layers_;
  std::vector<std::size_t> saturating_;  ///< Those that are sigmoids or tanh.
};

}  // namespace

Rule saturated_activation() {
  RuleInfo info;
  info.id = kId;
  info.title = "Sigmoid or tanh is saturated";
  info.meaning =
      "Nearly all outputs of a sigmoid or tanh lie at its ends, where its derivative is close to 0: what is in front "
      "of "
      "it gets hardly any gradient. Inputs or weights are too large.";
  info.method =
      "Share of the elements whose derivative is below 1 % of its maximum, at nearly all of the last recorded steps. "
      "Without that, the mean derivative, from mean and root mean square of the output. Judged only between two "
      "layers: "
      "what follows must be a layer that takes as many features. Warning; information while the loss is below half of "
      "its start; an error if the loss stands still or rises.";
  info.limits =
      "The last activation, what the loss compares with targets, the inside of LSTM and GRU, and gates that are chunks "
      "of a layer's output are not looked at. A gate built from a layer of its own looks like any other sigmoid.";
  info.options = {
      {"fraction", 0.9, "Share of saturated elements.",
       "Above half is DeepDiagnosis' alarm, which healthy nets raise."},
      {"mean-slope", 0.02, "Mean derivative over the largest one, where the share was not recorded.",
       "tanh with a root mean square of 0.99."},
      {"share", 0.9, "Share of the last recorded steps at which it must be so.", "Tolerates single batches."},
      min_steps_option(10),
      {"max-findings", 8, "Activations that get a finding of their own.", "What a person reads."},
  };
  info.references = {"Glorot, Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010",
                     "Wardat et al., DeepDiagnosis, ICSE 2022"};
  info.effects = {{"vanishing-gradient"}, {"jacobian-growth"},         {"zero-gradient"},
                  {"collapsed-output"},   {"no-better-than-constant"}, {"plateaued-loss"}};
  return make_rule<SaturatedActivation>(std::move(info));
}

}  // namespace gradhealth::rules
