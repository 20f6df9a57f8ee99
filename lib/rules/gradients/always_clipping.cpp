#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/optimizer_advice.h"
#include "rules/support/persistence.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "stats/quantile.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "always-clipping";

class AlwaysClipping final : public Judge {
 public:
  explicit AlwaysClipping(const RuleOptions& options)
      : share_(options.at("share")),
        hard_(options.at("hard-factor")),
        min_steps_(options.at("min-steps")),
        clipped_(min_steps_, share_),
        factors_(static_cast<std::size_t>(min_steps_)) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    if (const double rate = record.at(Quantity::kLearningRate); std::isfinite(rate)) rate_ = rate;
    if (const double limit = record.at(Quantity::kClipThreshold); std::isfinite(limit)) threshold_ = limit;
    const double factor = record.at(Quantity::kClipFactor);
    if (!std::isfinite(factor)) return;
    norms_.push(global_gradient_norm(record));
    clipped_.observe(factor < 1, record.step);
    factors_.push(factor);
    const auto now = severity();
    alarm_.set(now ? static_cast<std::size_t>(*now) + 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const auto now = severity()) return unhealthy({finding(*now)});
    if (clipped_.count() == 0) return NotEvaluated{"no clipping was seen: it is known of clip_grad_norm() only"};
    if (static_cast<double>(clipped_.count()) < min_steps_) return too_few_steps(clipped_.count(), min_steps_);
    return Healthy{};
  }

 private:
  std::optional<Severity> severity() const {
    if (!clipped_.holds()) return std::nullopt;
    return factors_.median() < hard_ && harm_.stands_still() ? Severity::kWarning : Severity::kInfo;
  }

  Finding finding(Severity severity) const {
    const double factor = factors_.median();
    const bool hard = severity == Severity::kWarning;
    Finding finding = new_finding(
        kId, severity, 0.8, {}, {*clipped_.since(), clipped_.last()},
        fmt::format("Nearly every gradient is clipped ({} % of {:.0f} recorded steps), to {} of its length in the "
                    "median{}: the threshold decides the length of the steps; {}.",
                    number(100 * clipped_.share()), min_steps_, number(factor),
                    threshold_ ? fmt::format(", at a threshold of {}", number(*threshold_)) : "", harm_.words()));
    finding.evidence.push_back(
        evidence("share of steps that were clipped", clipped_.share(), "≥", share_, Quantity::kClipFactor));
    if (hard) finding.evidence.push_back(evidence("median clip factor", factor, "<", hard_, Quantity::kClipFactor));
    if (norms_.count() >= 5) {
      finding.recommendations.push_back(clip_gradients(norms_.value(), 1.0));
      finding.recommendations.back().why =
          "Clipping is there for the rare batch. Where it cuts every step it hides what the learning rate is. With a "
          "higher threshold a lower learning rate may be needed.";
    }
    if (hard) finding.recommendations.push_back(raise_learning_rate(rate_, 10, 0.4));
    if (finding.recommendations.empty()) finding.recommendations.push_back(clip_gradients(std::nullopt, 1.0));
    return finding;
  }

  double share_;
  double hard_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Persistence clipped_;
  stats::Window factors_;
  stats::Quantile norms_{0.95};
  std::optional<double> rate_;
  std::optional<double> threshold_;
};

}  // namespace

Rule always_clipping() {
  RuleInfo info;
  info.id = kId;
  info.title = "Every gradient is clipped";
  info.meaning =
      "The threshold of gradient clipping lies below ordinary gradients, so that it is no protection against rare ones "
      "but the length of every step. With plain SGD that makes the learning rate mean something else than it says.";
  info.method =
      "Share of the recorded steps whose gradient was shortened. Information; a warning only if gradients are cut to "
      "less than a hundredth and the loss stands still.";
  info.limits =
      "Sees clipping by the monitor's clip_grad_norm(). Clipping every step is a usual way to train language and "
      "reinforcement learning models, where it does no harm.";
  info.options = {
      {"share", 0.95, "Share of the last recorded steps that were clipped.", "Practitioner review."},
      {"hard-factor", 0.01, "Median of what gradients were multiplied by, for a warning.", "Practitioner review."},
      min_steps_option(50),
  };
  info.references = {"Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, 2013",
                     "Zhang et al., Why gradient clipping accelerates training, arXiv 1905.11881"};
  info.effects = {{"update-too-small"}};
  return make_rule<AlwaysClipping>(std::move(info));
}

}  // namespace gradhealth::rules
