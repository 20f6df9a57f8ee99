#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "collapsed-output";

class CollapsedOutput final : public Judge {
 public:
  explicit CollapsedOutput(const RuleOptions& options)
      : relative_(options.at("relative")),
        absolute_(options.at("absolute")),
        target_(options.at("target-relative")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    if (const double rate = record.at(Quantity::kLearningRate); std::isfinite(rate)) rate_ = rate;
    for (const Event& event : record.events)
      if (event.kind == "loss-operator" && subject_.empty()) subject_ = event.subject;
    const double spread = record.at(Quantity::kPredictionSpread);
    // One sample has no spread.
    if (!std::isfinite(spread) || !(record.at(Quantity::kBatchSize) >= 2)) return;
    const double deviation = record.at(Quantity::kTargetStd);
    if (deviation > 0 || record.at(Quantity::kTargetEntropy) > 0) targets_differ_ = true;
    const double mean = record.at(Quantity::kPredictionMean);
    const double width = record.at(Quantity::kPredictionStd);
    size_ = std::sqrt(mean * mean + width * width);
    spread_ = spread;
    // A large offset may hide a spread that is all that is asked for.
    const bool enough = deviation > 0 && spread > target_ * deviation;
    collapsed_.add((spread < absolute_ || spread < relative_ * size_) && !enough, record.step);
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (collapsed_.judged == 0) return NotEvaluated{"no spread of the predictions over several samples was recorded"};
    if (!targets_differ_) return NotEvaluated{"no targets that differ were recorded"};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(collapsed_.judged) < min_steps_) return too_few_steps(collapsed_.judged, min_steps_);
    return Healthy{};
  }

 private:
  std::optional<Severity> severity() const {
    if (!targets_differ_ || static_cast<double>(collapsed_.judged) < min_steps_) return std::nullopt;
    if (2 * collapsed_.streak < collapsed_.judged || static_cast<double>(collapsed_.streak) < min_steps_ / 2)
      return std::nullopt;
    return harm_.stands_still() || harm_.rose() ? Severity::kError : Severity::kWarning;
  }

  Finding finding() const {
    Finding finding =
        new_finding(kId, *severity(), 0.95, {{}, {}, subject_}, {collapsed_.streak_since, collapsed_.last}, {});
    finding.message = fmt::format(
        "Since step {} the model gives the same output for every sample, for {} recorded steps: outputs of size {} "
        "differ by {} only.",
        collapsed_.streak_since, collapsed_.streak, number(size_), number(spread_));
    finding.evidence.push_back(evidence("spread of the predictions over the samples", spread_, "<",
                                        std::max(absolute_, relative_ * size_), Quantity::kPredictionSpread));
    if (harm_.stands_still() || harm_.rose()) {
      finding.message += fmt::format(" It does harm: {}.", harm_.words());
      finding.evidence.push_back(loss_evidence(harm_));
    }
    finding.recommendations.push_back(find_the_layer());
    finding.recommendations.push_back(lower_learning_rate(rate_, 10, 0.3));
    return finding;
  }

  static Recommendation find_the_layer() {
    Recommendation advice;
    advice.id = "check-loader";
    advice.text =
        "Check that the samples of a batch differ where they enter the model; if they do, a layer behind has died.";
    advice.why =
        "Either the input does not vary, or units that give zeros for everything let nothing of it through; weights of "
        "such a model must be initialised anew.";
    advice.code =
        "const auto rows = x.flatten(1).to(torch::kFloat64);\n"
        "TORCH_CHECK(rows.std(0).max().item<double>() > 0, \"all samples of the batch are the same\");";
    advice.confidence = 0.5;
    return advice;
  }

  double relative_;
  double absolute_;
  double target_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Tally collapsed_;
  std::string subject_;
  bool targets_differ_ = false;
  double size_ = NAN;
  double spread_ = NAN;
  std::optional<double> rate_;
};

}  // namespace

Rule collapsed_output() {
  RuleInfo info;
  info.id = kId;
  info.title = "Output is the same for every sample";
  info.meaning =
      "The model answers the same whatever it is shown, although its targets differ. Somewhere between input and "
      "output "
      "nothing passes any more: units are dead or saturated, a layer's weights are zero, or the input does not vary.";
  info.method =
      "The predictions' standard deviation over the samples of a batch is below a ten-thousandth of their size, or "
      "next "
      "to nothing, and small against the targets' deviation, in the latter half of the run without exception. A "
      "warning; "
      "an error when the loss does not fall.";
  info.limits =
      "Steps with one sample say nothing. An output layer that starts with zero weights gives equal outputs for a few "
      "steps, which is no collapse.";
  info.options = {
      {"relative", 1e-4, "Spread over the samples relative to the outputs' size.", "Four orders of magnitude."},
      {"absolute", 1e-6, "Spread over the samples that is none at all.", "Rounding of outputs of size 1 and more."},
      {"target-relative", 1e-3, "Spread relative to the targets' deviation above which it is no collapse.",
       "A share of 1e-6 of the variance."},
      min_steps_option(20),
  };
  info.references = {"Ben Braiek and Khomh, TheDeepChecker, 2022"};
  info.effects = {{"no-better-than-constant"}, {"plateaued-loss"}};
  return make_rule<CollapsedOutput>(std::move(info));
}

}  // namespace gradhealth::rules
