#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_advice.h"
#include "rules/support/loss_operators.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "nll-without-log-softmax";

class NllWithoutLogSoftmax final : public Judge {
 public:
  explicit NllWithoutLogSoftmax(const RuleOptions& options)
      : rounding_(options.at("rounding")), steps_(options.at("steps")), min_steps_(options.at("min-steps")) {}

  void observe(const Run&, const StepRecord& record) override {
    operators_.observe(record);
    if (!operators_.known()) return;
    ++count_;
    last_step_ = record.step;
    if (loss() == nullptr) return;
    const double most = record.at(Quantity::kPredictionMax);
    const double value = record.at(Quantity::kLoss);
    if (most > most_) most_ = most;
    if (value < least_loss_) least_loss_ = value;
    // Log-probabilities are never above 0, and what they average to never makes a likelihood below it.
    impossible_.add(most > rounding_ || (operators_.only() != nullptr && value < -rounding_), record.step);
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (severity()) return unhealthy({finding()});
    if (count_ == 0) return NotEvaluated{"no loss operator was recorded"};
    if (static_cast<double>(count_) < min_steps_) return too_few_steps(count_, min_steps_);
    return Healthy{};
  }

 private:
  const LossOperator* loss() const {
    for (const LossOperator& each : operators_.all())
      if (is_class_loss(each.name) && each.name != "cross_entropy_loss" && each.produced_by != "log_softmax")
        return &each;
    return nullptr;
  }

  std::optional<Severity> severity() const {
    return loss() != nullptr && static_cast<double>(impossible_.seen) >= steps_ ? std::optional(Severity::kError)
                                                                                : std::nullopt;
  }

  Finding finding() const {
    const LossOperator& loss = *this->loss();
    Finding finding =
        new_finding(kId, Severity::kError, 0.95, {{}, {}, loss.subject}, {impossible_.first, last_step_}, {});
    finding.message = fmt::format("{} gets {}, not log-probabilities: in {} of {} recorded steps", loss.name,
                                  loss.produced_by.empty() ? "plain scores" : "what a " + loss.produced_by + " gives",
                                  impossible_.seen, impossible_.judged);
    if (most_ > rounding_) {
      finding.message += fmt::format(" there were values up to {}, where log-probabilities end at 0.", number(most_));
      finding.evidence.push_back(evidence("largest prediction", most_, ">", rounding_, Quantity::kPredictionMax));
    } else {
      finding.message += fmt::format(" the loss was negative, down to {}.", number(least_loss_));
    }
    if (least_loss_ < -rounding_) {
      finding.message += " Such a loss has no lower end and says nothing about the classes.";
      finding.evidence.push_back(evidence("smallest loss", least_loss_, "<", -rounding_, Quantity::kLoss));
    }
    finding.recommendations.push_back(use_log_softmax(loss));
    return finding;
  }

  double rounding_;
  double steps_;
  double min_steps_;
  LossOperators operators_;
  Alarm alarm_;
  Tally impossible_;
  std::size_t count_ = 0;
  std::int64_t last_step_ = 0;
  double most_ = -HUGE_VAL;
  double least_loss_ = HUGE_VAL;
};

}  // namespace

Rule nll_without_log_softmax() {
  RuleInfo info;
  info.id = kId;
  info.title = "Likelihood loss gets no log-probabilities";
  info.meaning =
      "nll_loss is called with scores or probabilities. It only negates the target's value: with scores the loss falls "
      "without end while the scores of all classes rise, with probabilities its gradient does not know the other "
      "classes.";
  info.method =
      "What nll_loss takes was not made by log_softmax, and values above 0 are among it, or the loss is negative, "
      "which "
      "log-probabilities cannot give.";
  info.limits =
      "A logarithm of probabilities is healthy. Losses with further terms are judged by the predictions only.";
  info.options = {
      {"rounding", 1e-3, "Value above 0 that rounding can give to a log-probability.", "Half precision."},
      {"steps", 3, "Recorded steps in which it must show.", "A single one may be an accident."},
      min_steps_option(10),
  };
  info.references = {"PyTorch documentation, torch.nn.NLLLoss"};
  info.effects = {{"diverging-loss"},          {"exploding-gradient"}, {"growing-weight"},  {"plateaued-loss"},
                  {"no-better-than-constant"}, {"nonfinite-loss"},     {"nonfinite-weight"}};
  return make_rule<NllWithoutLogSoftmax>(std::move(info));
}

}  // namespace gradhealth::rules
