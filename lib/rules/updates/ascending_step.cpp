#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/persistence.h"
#include "rules/support/rule_support.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "ascending-step";

class AscendingStep final : public Judge {
 public:
  explicit AscendingStep(const RuleOptions& options)
      : cosine_(options.at("cosine")),
        run_length_(options.at("run-length")),
        min_steps_(options.at("min-steps")),
        harm_(options.at("rise")),
        persistence_(min_steps_, options.at("share")),
        cosines_(static_cast<std::size_t>(min_steps_)) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    declared_ = run.info.loss_kind == "adversarial" || run.info.loss_kind == "reinforcement";
    const double cosine = record.at(Quantity::kUpdateGradientCosine);
    if (!std::isfinite(cosine)) return;
    if (!first_step_) first_step_ = record.step;
    length_ = record.step - *first_step_;
    cosines_.push(cosine);
    persistence_.observe(cosine < cosine_, record.step);
    const auto now = severity();
    alarm_.set(now ? static_cast<std::size_t>(*now) + 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const auto now = severity()) return unhealthy({finding(*now)});
    if (!first_step_) return NotEvaluated{"the direction of updates against gradients was not recorded"};
    if (static_cast<double>(persistence_.count()) < min_steps_) return too_few_steps(persistence_.count(), min_steps_);
    return Healthy{};
  }

 private:
  std::optional<Severity> severity() const {
    if (!persistence_.holds() || static_cast<double>(length_) < run_length_) return std::nullopt;
    if (harm_.rose()) return Severity::kError;
    // Where gradients have faded, weight decay is what is left of a step; and games are played uphill.
    return harm_.learns() || declared_ ? Severity::kInfo : Severity::kWarning;
  }

  Finding finding(Severity severity) const {
    Finding finding = new_finding(
        kId, severity, severity == Severity::kInfo ? 0.4 : 0.9, {}, {*persistence_.since(), persistence_.last()},
        fmt::format(
            "Updates go along the gradient instead of against it: their cosine with the negative gradient is {} "
            "(median), below {} at {} % of the last {:.0f} recorded steps; {}.",
            number(cosines_.median()), number(cosine_), number(100 * persistence_.share()), min_steps_, harm_.words()));
    finding.evidence.push_back(evidence("cosine between update and negative gradient, median", cosines_.median(), "<",
                                        cosine_, Quantity::kUpdateGradientCosine));
    Recommendation advice;
    advice.id = "fix-loss-sign";
    advice.text = "Minimise: check the sign of the loss, of the learning rate, and of what is added to gradients.";
    advice.why = "An optimizer goes downhill. A loss that is to be maximised must be negated, once.";
    advice.code =
        "TORCH_CHECK(optimizer.param_groups()[0].options().get_lr() > 0, \"the learning rate is negative\");\n"
        "(-loss).backward();  // if the loss is something to be maximised, or was negated before";
    advice.confidence = 0.7;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double cosine_;
  double run_length_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Persistence persistence_;
  stats::Window cosines_;
  bool declared_ = false;
  std::optional<std::int64_t> first_step_;
  std::int64_t length_ = 0;
};

}  // namespace

Rule ascending_step() {
  RuleInfo info;
  info.id = kId;
  info.title = "Updates climb the loss";
  info.meaning =
      "The updates point along the gradient of the recorded loss instead of against it. The sign of the loss, of the "
      "learning rate or of a change to the gradients is wrong, or another loss is minimised than the one that is "
      "recorded.";
  info.method =
      "Cosine between each update and the negative gradient that it was made from. Persistently below the threshold: "
      "warning, an error if the loss rises. Information for losses declared adversarial or reinforcement, and while "
      "the "
      "loss is below half of its start.";
  info.limits =
      "Momentum at a high learning rate swings to both sides, which is not persistent. Late in a run weight decay may "
      "outweigh the gradients, whose direction it opposes.";
  info.options = {
      {"cosine", -0.1, "Cosine between update and negative gradient.", "Practitioner review."},
      {"share", 0.8, "Share of the last recorded steps below it.", "Practitioner review: 80 % of 50 steps."},
      {"rise", 1.5, "Loss over its start, above which it has risen.", "Climbing shows before the loss has tripled."},
      {"run-length", 50, "Steps before anything is judged.", "Practitioner review."},
      min_steps_option(20),
  };
  info.references = {"Ben Braiek, Khomh, TheDeepChecker, 2023"};
  info.effects = {
      {"diverging-loss"},       {"nonfinite-loss"},         {"exploding-gradient"},        {"nonfinite-gradient"},
      {"nonfinite-weight"},     {"growing-weight"},         {"nonfinite-activation"},      {"dead-units"},
      {"saturated-activation"}, {"exploding-activation"},   {"nonfinite-optimizer-state"}, {"update-too-large"},
      {"zero-gradient"},        {"no-better-than-constant"}};
  return make_rule<AscendingStep>(std::move(info));
}

}  // namespace gradhealth::rules
