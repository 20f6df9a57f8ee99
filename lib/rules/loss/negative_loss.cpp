#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_operators.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "negative-loss";

class NegativeLoss final : public Judge {
 public:
  explicit NegativeLoss(const RuleOptions& options)
      : fall_(options.at("fall")), share_(options.at("share")), min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    operators_.observe(record);
    declared_ = !run.info.loss_kind.empty() && run.info.loss_kind != "minimized";
    const double loss = record.at(Quantity::kLoss);
    if (!operators_.known() || std::isnan(loss)) return;
    last_step_ = record.step;
    if (std::isnan(start_)) start_ = loss;
    lowest_ = std::min(lowest_, loss);
    // What knowing nothing costs: a start near zero is no measure.
    const double variance = record.at(Quantity::kTargetStd) * record.at(Quantity::kTargetStd);
    const double classes = record.at(Quantity::kTargetClasses);
    if (variance > 0) size_ = std::max(size_, variance);
    if (classes >= 2) size_ = std::max(size_, std::log(classes));
    negative_.add(loss < 0 && explains(record, loss), record.step);
    alarm_.set(severity() ? static_cast<std::size_t>(*severity()) + 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const auto now = severity()) return unhealthy({finding(*now)});
    if (negative_.judged == 0) return NotEvaluated{"no loss operator was recorded"};
    if (operator_of_loss() == nullptr)
      return NotEvaluated{"the loss has several terms, or one whose lowest value is not known"};
    if (static_cast<double>(negative_.judged) < min_steps_) return too_few_steps(negative_.judged, min_steps_);
    return Healthy{};
  }

 private:
  /// The loss's one operator, if it never gives less than 0.
  const LossOperator* operator_of_loss() const {
    const LossOperator* only = operators_.only();
    if (only == nullptr) return nullptr;
    const bool bounded = only->name == "cross_entropy_loss" || is_regression_loss(only->name) ||
                         (is_class_loss(only->name) && only->produced_by == "log_softmax") ||
                         is_binary_loss(only->name);
    return bounded ? only : nullptr;
  }

  /// Further terms can make a loss negative. Without any, its size is what the operator can give for these predictions.
  bool explains(const StepRecord& record, double loss) const {
    const LossOperator* only = operator_of_loss();
    if (only == nullptr || only->reduction == "sum") return false;
    const double spread = record.at(Quantity::kPredictionMax) - record.at(Quantity::kPredictionMin);
    if (is_regression_loss(only->name)) {
      const double most = std::max(std::abs(record.at(Quantity::kPredictionMax) - record.at(Quantity::kTargetMin)),
                                   std::abs(record.at(Quantity::kPredictionMin) - record.at(Quantity::kTargetMax)));
      return -loss <= 1.01 * std::max(most * most, most);
    }
    const double classes = record.at(Quantity::kTargetClasses);
    return -loss <= std::log(std::isfinite(classes) ? std::max(classes, 2.0) : 2.0) + spread;
  }

  std::optional<Severity> severity() const {
    if (declared_ || static_cast<double>(negative_.judged) < min_steps_ || !(negative_.share() >= share_))
      return std::nullopt;
    return lowest_ < -fall_ * std::max(std::abs(start_), size_) ? Severity::kError : Severity::kInfo;
  }

  Finding finding(Severity severity) const {
    const LossOperator& loss = *operator_of_loss();
    Finding finding = new_finding(kId, severity, 0.9, {}, {negative_.first, last_step_}, {});
    finding.message = fmt::format(
        "The loss is negative, from {} down to {}, but {} never gives less than 0: its sign was turned, so that the "
        "training makes the model as wrong as it can be.",
        number(start_), number(lowest_), loss.name);
    finding.evidence.push_back(evidence("lowest loss", lowest_, "<", 0, Quantity::kLoss));
    Recommendation advice;
    advice.id = "fix-loss-sign";
    advice.text = "Minimise the loss itself, without the minus sign.";
    advice.why = "Optimizers go downhill. A minus belongs in front of likelihoods and rewards, not in front of a loss.";
    advice.code = fmt::format("loss = {};\nloss.backward();", loss_call(loss.name, "target"));
    advice.confidence = 0.9;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double fall_;
  double share_;
  double min_steps_;
  LossOperators operators_;
  Alarm alarm_;
  Tally negative_;
  bool declared_ = false;
  double start_ = NAN;
  double size_ = std::log(2);
  double lowest_ = HUGE_VAL;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule negative_loss() {
  RuleInfo info;
  info.id = kId;
  info.title = "Loss has the wrong sign";
  info.meaning =
      "A loss that cannot be negative is: it was multiplied by -1, as a likelihood or a reward has to be. Minimising "
      "it drives the model to the most wrong answer, with a loss that falls for ever and looks like progress.";
  info.method =
      "The loss has one operator, one that never gives less than 0, and nearly every recorded loss is below 0 by no "
      "more than that operator can give for these predictions. Information, since an adversary may want just that; an "
      "error once the loss has fallen to a multiple of its start, or of what a constant answer costs, as no stable "
      "game does.";
  info.limits =
      "Losses of several operators or with weighted sums are not judged, nor those declared as adversarial, density or "
      "reinforcement.";
  info.options = {
      {"fall", 5, "Multiple of the first loss's size below zero that is an error.",
       "An adversary's loss stays within a few times its start; ascent on cross entropy passes it within tens of "
       "steps."},
      {"share", 0.9, "Share of the recorded losses that are negative.", "All but accidents."},
      min_steps_option(10),
  };
  info.references = {"Ben Braiek, Khomh, TheDeepChecker, 2023"};
  info.effects = {
      {"update-too-large"},     {"growing-weight"},     {"exploding-gradient"},   {"diverging-loss"},
      {"nonfinite-loss"},       {"nonfinite-gradient"}, {"nonfinite-activation"}, {"nonfinite-weight"},
      {"exploding-activation"}, {"dead-units"},         {"loss-spike"},           {"nonfinite-optimizer-state"},
      {"saturated-activation"}, {"zero-gradient"},      {"half-precision-range"}, {"unbounded-loss"}};
  return make_rule<NegativeLoss>(std::move(info));
}

}  // namespace gradhealth::rules
