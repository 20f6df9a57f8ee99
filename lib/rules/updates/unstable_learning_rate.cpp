#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "unstable-learning-rate";

class UnstableLearningRate final : public Judge {
 public:
  explicit UnstableLearningRate(const RuleOptions& options)
      : factor_(options.at("factor")), margin_(options.at("margin")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    last_step_ = record.step;
    if (const double rate = record.at(Quantity::kLearningRate); rate > 0) rate_ = rate;
    const double curvature = record.at(Quantity::kCurvature);
    if (std::isfinite(curvature) && rate_) {
      ++measured_;
      sgd_ = run.info.optimizer.empty() || run.info.optimizer == "SGD";
      momentum_ = run.info.momentum.value_or(0);
      const double product = *rate_ * curvature / bound();
      if (sgd_ && product > factor_ && !(product <= worst_)) {
        worst_ = product;
        curvature_ = curvature;
        worst_rate_ = *rate_;
      }
      if (sgd_ && product > factor_ && !since_) since_ = record.step;
    }
    const auto now = severity();
    alarm_.set(now ? static_cast<std::size_t>(*now) + 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const auto now = severity()) return unhealthy({finding(*now)});
    if (measured_ == 0)
      return NotEvaluated{
          "needs the curvature of the loss and the learning rate; the curvature is measured on demand, with a closure"};
    if (!sgd_)
      return NotEvaluated{
          "the bound for this optimizer is on the curvature divided by its own denominator, which is not "
          "recorded"};
    return Healthy{};
  }

 private:
  /// Largest learning rate times curvature of a quadratic on which gradient descent with momentum is stable.
  double bound() const { return 2 + 2 * momentum_; }

  std::optional<Severity> severity() const {
    if (!since_) return std::nullopt;
    return harm_.rose() ? Severity::kError : Severity::kInfo;
  }

  Finding finding(Severity severity) const {
    const double stable = bound() / curvature_;
    Finding finding = new_finding(
        kId, severity, severity == Severity::kError ? 0.9 : 0.5, {}, {*since_, last_step_},
        fmt::format(
            "The loss has a curvature of {}, for which learning rates above {} (momentum {}) are unstable; it is "
            "{}; {}.",
            number(curvature_), number(stable), number(momentum_), number(worst_rate_), harm_.words()));
    finding.evidence.push_back(evidence("learning rate times curvature", worst_rate_ * curvature_, ">",
                                        factor_ * bound(), Quantity::kCurvature));
    finding.recommendations.push_back(
        lower_learning_rate(worst_rate_, worst_rate_ / (margin_ * stable), severity == Severity::kError ? 0.9 : 0.5));
    return finding;
  }

  double factor_;
  double margin_;
  LossHarm harm_;
  Alarm alarm_;
  bool sgd_ = true;
  double momentum_ = 0;
  double worst_ = NAN;
  double worst_rate_ = NAN;
  double curvature_ = NAN;
  std::size_t measured_ = 0;
  std::optional<double> rate_;
  std::optional<std::int64_t> since_;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule unstable_learning_rate() {
  RuleInfo info;
  info.id = kId;
  info.title = "Learning rate is beyond stability";
  info.meaning =
      "Gradient descent on a valley of curvature λ overshoots farther with every step if the learning rate is above "
      "2/λ, or (2+2β)/λ with momentum β.";
  info.method =
      "Learning rate times the largest eigenvalue of the loss's Hessian against 2+2β. Beyond it: information; an error "
      "if the loss has risen or is not finite.";
  info.limits =
      "Full-batch training settles at the edge of stability and the loss falls all the same. Adam's bound, "
      "(2+2β₁)/((1-β₁)η), is on the Hessian divided by its own denominator, which is not recorded: not evaluated. The "
      "curvature is measured on demand, on one batch.";
  info.options = {
      {"factor", 1, "Learning rate times curvature, in multiples of 2+2β.", "Cohen et al.: the edge of stability."},
      {"margin", 0.5, "Share of the stable learning rate that the advice aims at.",
       "Curvature rises until training reaches the edge."},
  };
  info.references = {
      "Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability, 2021",
      "Cohen et al., Adaptive gradient methods at the edge of stability, arXiv 2207.14484"};
  info.effects = {{"diverging-loss"},
                  {"exploding-gradient"},
                  {"update-too-large"},
                  {"nonfinite-loss"},
                  {"nonfinite-weight"},
                  {"nonfinite-gradient"},
                  {"nonfinite-activation"},
                  {"dead-units"},
                  {"growing-weight"},
                  {"zero-gradient"},
                  {"saturated-activation"},
                  {"exploding-activation"},
                  {"nonfinite-optimizer-state"},
                  {"loss-spike"},
                  {"oscillating-loss"},
                  {"no-better-than-constant"}};
  return make_rule<UnstableLearningRate>(std::move(info));
}

}  // namespace gradhealth::rules
