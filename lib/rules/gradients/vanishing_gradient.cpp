#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/operators.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "rules/support/starvation.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "vanishing-gradient";

bool saturates(const std::string& kind) {
  const std::string op = operator_name(kind);
  return op == "sigmoid" || op == "tanh" || op == "softmax" || op == "hardsigmoid" || op == "log_sigmoid";
}

class VanishingGradient final : public Judge {
 public:
  explicit VanishingGradient(const RuleOptions& options)
      : min_steps_(options.at("min-steps")),
        error_steps_(options.at("error-steps")),
        last_ratio_(options.at("last-ratio")),
        starvation_({last_ratio_, options.at("median-ratio"), min_steps_}) {}

  void observe(const Run& run, const StepRecord& record) override {
    starvation_.observe(run, record);
    last_step_ = record.step;
    if (activations_ != run.of(Axis::kActivation).size()) look_at_operators(run);
    if (starvation_.steps() > 0) {
      remember(first_, run, starvation_.first_parameter());
      remember(last_, run, starvation_.last_parameter());
    }
    severity_ = judge(record.step);
    const std::size_t state = !severity_ ? 0 : *severity_ == Severity::kError ? 2 : 1;
    alarms_ = std::max(alarms_, state);
  }

  std::size_t alarms() const override { return alarms_; }

  Outcome outcome() const override {
    if (severity_) return unhealthy({finding()});
    if (starvation_.steps() == 0) {
      if (starvation_.model().all().size() >= 3 && starvation_.layers() < 3)
        return NotEvaluated{"fewer than three weights have a gradient"};
      return NotEvaluated{"needs at least three layers with weights"};
    }
    if (!starvation_.loss().recorded()) return NotEvaluated{"no loss was recorded"};
    if (static_cast<double>(starvation_.steps()) < min_steps_) return too_few_steps(starvation_.steps(), min_steps_);
    return Healthy{};
  }

 private:
  static void remember(Subject& subject, const Run& run, std::size_t parameter) {
    const Subject& now = run.of(Axis::kParameter)[parameter];
    if (subject.name != now.name) subject = now;
  }

  void look_at_operators(const Run& run) {
    activations_ = run.of(Axis::kActivation).size();
    saturating_.clear();
    for (const Subject& activation : run.of(Axis::kActivation))
      if (saturating_.empty() && saturates(activation.kind) && activation.name != activation.module)
        saturating_ = operator_name(activation.kind);
    if (const auto& layers = starvation_.model().all(); !layers.empty() && layers[0].activation)
      first_output_ = run.of(Axis::kActivation)[*layers[0].activation];
  }

  std::optional<Severity> judge(std::int64_t step) const {
    const auto since = starvation_.since();
    if (!since || !starvation_.loss().makes_no_progress()) return std::nullopt;
    return static_cast<double>(step - *since) + 1 >= error_steps_ ? Severity::kError : Severity::kWarning;
  }

  Finding finding() const {
    Finding finding;
    finding.rule = kId;
    finding.severity = *severity_;
    finding.confidence = 0.8;
    finding.subject = ref(first_);
    finding.first_step = *starvation_.since();
    finding.last_step = last_step_;
    finding.message = fmt::format(
        "Since step {} the gradient of {}, relative to its weights, is {} of that of {} (median over {:.0f} recorded "
        "steps), and the loss stands still at {} (start {}).",
        finding.first_step, first_.name, number(starvation_.last_ratio()), last_.name, min_steps_,
        number(starvation_.loss().recent()), number(starvation_.loss().start()));
    finding.evidence.push_back(evidence(fmt::format("relative gradient of {} over that of {}", first_.name, last_.name),
                                        starvation_.last_ratio(), "<", last_ratio_, Quantity::kGradientNorm,
                                        first_.name));
    if (!saturating_.empty()) finding.recommendations.push_back(use_relu(saturating_));
    finding.recommendations.push_back(
        add_norm_layer(first_.module, first_output_.kind, first_output_.size > 0 ? first_output_.size : 1));
    if (saturating_.empty()) finding.recommendations.push_back(he_init({first_.name}));
    return finding;
  }

  double min_steps_;
  double error_steps_;
  double last_ratio_;
  Starvation starvation_;
  std::size_t activations_ = 0;
  std::size_t alarms_ = 0;
  std::int64_t last_step_ = 0;
  std::string saturating_;  ///< The first activation function that saturates.
  Subject first_;
  Subject last_;
  Subject first_output_;
  std::optional<Severity> severity_;
};

}  // namespace

Rule vanishing_gradient() {
  RuleInfo info;
  info.id = kId;
  info.title = "Gradient vanishes towards the input";
  info.meaning =
      "Every layer on the way back shrinks the gradient, so that the first layers hardly learn. Saturating activation "
      "functions, small initial weights or dead units do that; the later layers then work on random features.";
  info.method =
      "Compares gradient norm over weight norm of the first layer that is trained with that of the last and of the "
      "median layer, as medians over the last recorded steps. A finding needs both ratios below their thresholds and a "
      "loss that stands still; an error when that lasts.";
  info.limits =
      "Needs three layers with weights. Embeddings, biases, norm scales and frozen layers are not looked at; steps in "
      "which the learning rate rises (warm-up) do not count. A run whose whole gradient becomes small, as when it "
      "interpolates its data, is healthy. Without standing loss there is no finding: some early layers learn slowly.";
  info.options = {
      {"last-ratio", 1e-3, "First layer's relative gradient over the last layer's.",
       "Zhang et al., AUTOTRAINER: 1e-3."},
      {"median-ratio", 0.1, "First layer's relative gradient over the median layer's.",
       "Five sigmoid layers at -0.55 decades each: 0.03; keeps a single loud last layer from firing."},
      {"min-steps", 20, "Recorded steps over which the ratios are taken.",
       "The start-up phase that is always recorded."},
      {"error-steps", 50, "Training steps for which it must last to be an error.",
       "Longer than the biases take to settle."},
  };
  info.references = {
      "Bengio, Simard, Frasconi, Learning long-term dependencies with gradient descent is difficult, 1994",
      "Glorot, Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010"};
  info.effects = {{"adam-epsilon-dominates"}, {"no-better-than-constant"}, {"plateaued-loss"}};
  return make_rule<VanishingGradient>(std::move(info));
}

}  // namespace gradhealth::rules
