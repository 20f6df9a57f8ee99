#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/loss_advice.h"
#include "rules/support/loss_patterns.h"
#include "rules/support/nonfinite_origin.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "nonfinite-loss";

class NonfiniteLoss final : public Judge {
 public:
  explicit NonfiniteLoss(const RuleOptions& options) : min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    take_patterns(patterns_, "log-of-softmax", record);
    const double loss = record.at(Quantity::kLoss);
    const double flag = record.at(Quantity::kLossNonfinite);
    // A NaN without its flag was not recorded.
    if (std::isnan(loss) && std::isnan(flag)) return;
    ++steps_;
    if (!(flag > 0) && !std::isinf(loss)) {
      if (bad_steps_ == 0) last_finite_ = loss;
      return;
    }
    last_step_ = record.step;
    if (origin_.empty()) origin_ = origin_sentence(record);
    if (bad_steps_++ > 0) return;
    first_step_ = record.step;
    value_ = loss;
    const NonfiniteCount activations = count_nonfinite(record, Quantity::kActivationNonfinite);
    activations_seen_ = activations.recorded;
    inherited_ = activations.subjects > 0 || count_nonfinite(record, Quantity::kInputNonfinite).subjects > 0 ||
                 count_nonfinite(record, Quantity::kWeightNonfinite).subjects > 0;
    if (activations.recorded && !run.of(Axis::kActivation).empty())
      last_activation_max_ = record.at(Quantity::kActivationMax, run.of(Axis::kActivation).size() - 1);
  }

  std::size_t alarms() const override { return bad_steps_ > 0 ? 1 : 0; }

  Outcome outcome() const override {
    if (bad_steps_ == 0) {
      if (steps_ == 0) return NotEvaluated{"no loss was recorded"};
      if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
      return Healthy{};
    }
    Finding finding;
    finding.rule = kId;
    finding.severity = Severity::kError;
    finding.confidence = inherited_ ? 0.5 : 0.9;
    finding.first_step = first_step_;
    finding.last_step = last_step_;
    finding.message = fmt::format("The loss is {} at step {} and at {} recorded step{} in all",
                                  std::isinf(value_) ? "infinite" : "not a number", first_step_, bad_steps_,
                                  bad_steps_ == 1 ? "" : "s");
    finding.message += std::isnan(last_finite_) ? "." : fmt::format("; it was {} before.", number(last_finite_));
    if (inherited_)
      finding.message += " Activations, weights or input of that step were not finite either.";
    else if (activations_seen_)
      finding.message += fmt::format(
          " All activations of that step are finite (the last one at most {} in size), so "
          "the loss function itself overflows.",
          number(last_activation_max_));
    finding.message += origin_;
    finding.evidence.push_back(
        evidence("steps with a non-finite loss", static_cast<double>(bad_steps_), ">", 0, Quantity::kLossNonfinite));
    Recommendation stable = use_stable_loss();
    // Where the two operators were seen side by side there is nothing to guess.
    if (inherited_ && patterns_.empty()) {
      stable.confidence = 0.3;
      stable.text += " A guess here: the values were bad before they reached the loss.";
    }
    finding.recommendations.push_back(std::move(stable));
    return unhealthy({std::move(finding)});
  }

 private:
  double min_steps_;
  std::size_t steps_ = 0;
  std::size_t bad_steps_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
  double value_ = NAN;
  double last_finite_ = NAN;
  double last_activation_max_ = NAN;
  bool activations_seen_ = false;
  bool inherited_ = false;
  std::vector<OperatorPattern> patterns_;
  std::string origin_;  ///< A sentence on where it began, if the run knows.
};

}  // namespace

Rule nonfinite_loss() {
  RuleInfo info;
  info.id = kId;
  info.title = "Loss is not finite";
  info.meaning = "The loss is NaN or infinite: its gradient is meaningless, and the update destroys the weights.";
  info.method =
      "Any recorded loss that is not finite is an error. If input, weights and activations of that step are finite, "
      "the loss function itself is the place; otherwise it is told that the loss inherited it.";
  info.limits = "Trainers that skip such batches before step() are not seen.";
  info.options = {min_steps_option(10)};
  info.references = {"Blanchard, Higham, Higham, Accurately computing the log-sum-exp and softmax functions, 2021"};
  info.effects = {{"nonfinite-gradient"}, {"nonfinite-weight"}};
  return make_rule<NonfiniteLoss>(std::move(info));
}

}  // namespace gradhealth::rules
