#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/optimizer_advice.h"
#include "rules/support/persistence.h"
#include "rules/support/rule_support.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "accumulating-gradient";

class AccumulatingGradient final : public Judge {
 public:
  explicit AccumulatingGradient(const RuleOptions& options)
      : carried_(options.at("carried")),
        growth_(options.at("growth")),
        alignment_(options.at("alignment")),
        min_steps_(options.at("min-steps")),
        persistence_(min_steps_, options.at("share")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    const double carried = record.at(Quantity::kCarriedGradients);
    if (std::isnan(carried)) return;
    const double norm = global_gradient_norm(record);
    early_norm_.size() < 3 ? early_norm_.push(norm) : recent_norm_.push(norm);
    // Nothing can have been carried into the first step.
    if (seen_++ == 0) return;
    persistence_.observe(carried >= carried_, record.step);
    latest_ = carried;
    if (!alignments_.full()) alignments_.push(record.at(Quantity::kGradientAlignment));
    const auto now = severity();
    alarm_.set(now ? static_cast<std::size_t>(*now) + 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const auto now = severity()) return unhealthy({finding(*now)});
    if (seen_ == 0) return NotEvaluated{"whether gradients were carried from step to step was not recorded"};
    if (static_cast<double>(persistence_.count()) < min_steps_) return too_few_steps(persistence_.count(), min_steps_);
    return Healthy{};
  }

 private:
  double norm_ratio() const { return recent_norm_.median() / early_norm_.median(); }
  bool norm_grows() const { return recent_norm_.full() && norm_ratio() > growth_; }
  /// Sums that share most of their terms point the same way; gradients of single steps do not.
  bool sums_alike() const { return alignments_.size() == 0 || alignments_.median() > alignment_; }

  std::optional<Severity> severity() const {
    if (!persistence_.holds()) return std::nullopt;
    if (norm_grows() || harm_.rose()) return Severity::kError;
    if (!sums_alike()) return Severity::kInfo;
    return harm_.stands_still() ? Severity::kError : Severity::kWarning;
  }

  Finding finding(Severity severity) const {
    Finding finding = new_finding(
        kId, severity, severity == Severity::kInfo ? 0.5 : 0.9, {}, {*persistence_.since(), persistence_.last()},
        fmt::format(
            "Since step {} each step's gradients are added to those of the steps before: {} % of the parameters "
            "still had a gradient when backward() began; {}.",
            *persistence_.since(), number(100 * latest_), harm_.words()));
    finding.evidence.push_back(evidence("share of the parameters whose gradient was not cleared", latest_, "≥",
                                        carried_, Quantity::kCarriedGradients));
    if (norm_grows())
      finding.evidence.push_back(evidence("global gradient norm over that of the first steps", norm_ratio(), ">",
                                          growth_, Quantity::kGlobalGradientNorm));
    if (alignments_.size() > 0)
      finding.evidence.push_back(evidence("cosine between the gradients of neighbouring steps, median",
                                          alignments_.median(), sums_alike() ? ">" : "≤", alignment_,
                                          Quantity::kGradientAlignment));
    finding.recommendations.push_back(zero_grad());
    return finding;
  }

  double carried_;
  double growth_;
  double alignment_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Persistence persistence_;
  stats::Window early_norm_{3};
  stats::Window recent_norm_{8};
  stats::Window alignments_{20};
  std::size_t seen_ = 0;
  double latest_ = NAN;
};

}  // namespace

Rule accumulating_gradient() {
  RuleInfo info;
  info.id = kId;
  info.title = "Gradients are never cleared";
  info.meaning =
      "backward() adds to the gradients that are there. Without zero_grad() every update contains the gradients of all "
      "steps before, as if momentum never forgot: steps grow, overshoot and swing.";
  info.method =
      "Share of the parameters whose gradient was neither undefined nor zero when a step's first backward pass added "
      "to "
      "it, at nearly all recorded steps after the first. An error if the gradient norm grows, the loss rises or stands "
      "still. Where the gradients of neighbouring steps do not point the same way, as sums that share their terms "
      "would, "
      "it is information: another loss writes into these parameters before they are cleared, as in adversarial "
      "training.";
  info.limits =
      "Gradient accumulation over several backward passes is seen for what it is. Clearing right before backward(), "
      "after another model's backward pass went through these parameters, looks like carrying.";
  info.options = {
      {"carried", 0.9, "Share of the parameters that carry a gradient into a step.",
       "Parameters of which a batch uses nothing stay at zero."},
      {"share", 0.9, "Share of the last recorded steps at which it must be so.", "Tolerates steps that were skipped."},
      {"growth", 3, "Global gradient norm over that of the first steps, for an error.",
       "Eight equal gradients that are summed."},
      {"alignment", 0.6, "Median cosine between gradients of neighbouring steps, below which nothing is summed up.",
       "Sums of t random gradients have sqrt(1 - 1/t): 0.94 after eight steps."},
      min_steps_option(8),
  };
  info.references = {"Jiang et al., TrainCheck, OSDI 2025", "Ben Braiek, Khomh, TheDeepChecker, 2023"};
  info.effects = {{"exploding-gradient"}, {"diverging-loss"},       {"nonfinite-loss"},   {"nonfinite-gradient"},
                  {"nonfinite-weight"},   {"nonfinite-activation"}, {"dead-units"},       {"growing-weight"},
                  {"update-too-large"},   {"saturated-activation"}, {"zero-gradient"},    {"nonfinite-optimizer-state"},
                  {"always-clipping"},    {"loss-spike"},           {"oscillating-loss"}, {"no-better-than-constant"}};
  return make_rule<AccumulatingGradient>(std::move(info));
}

}  // namespace gradhealth::rules
