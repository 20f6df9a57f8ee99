#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_harm.h"
#include "rules/support/loss_operators.h"
#include "rules/support/new_finding.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"
#include "stats/moments.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "unnormalized-target";

class UnnormalizedTarget final : public Judge {
 public:
  explicit UnnormalizedTarget(const RuleOptions& options)
      : size_(options.at("size")),
        floor_(options.at("floor")),
        learnt_(options.at("learnt")),
        updates_(options.at("updates")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    operators_.observe(record);
    if (const double rate = record.at(Quantity::kLearningRate); !rate_ && std::isfinite(rate)) rate_ = rate;
    const double mean = record.at(Quantity::kTargetMean);
    const double deviation = record.at(Quantity::kTargetStd);
    if (!std::isfinite(mean) || !std::isfinite(deviation)) return;
    if (steps_++ == 0) first_step_ = record.step;
    last_step_ = record.step;
    const double batch = record.at(Quantity::kBatchSize);
    targets_.add_group(batch > 0 ? batch : 1, mean, deviation);
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (steps_ == 0) return NotEvaluated{"no floating-point targets were recorded"};
    if (regression() == nullptr) return NotEvaluated{"no loss that compares numbers was recorded"};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    return Healthy{};
  }

 private:
  const LossOperator* regression() const {
    for (const LossOperator& each : operators_.all())
      if (is_regression_loss(each.name)) return &each;
    return nullptr;
  }

  /// What the loss is if the model gives the targets' mean; NaN where that is not known.
  double constant_loss() const {
    const LossOperator* only = operators_.only();
    if (only == nullptr || only->name != "mse_loss" || only->reduction == "sum") return NAN;
    return targets_.variance();
  }

  enum class Harm { kNone, kBlewUp, kConstant, kStuck };
  Harm harm() const {
    if (harm_.rose()) return Harm::kBlewUp;
    const bool long_enough = static_cast<double>(last_step_ - first_step_) >= updates_;
    if (long_enough && harm_.loss().level(0.75, 1) > floor_ * constant_loss()) return Harm::kConstant;
    if (std::isnan(constant_loss()) && harm_.stands_still()) return Harm::kStuck;
    return Harm::kNone;
  }

  std::optional<Severity> severity() const {
    if (regression() == nullptr || !(std::max(targets_.deviation(), std::abs(targets_.mean())) > size_))
      return std::nullopt;
    if (harm() != Harm::kNone) return Severity::kError;
    if (static_cast<double>(steps_) < min_steps_) return std::nullopt;
    const bool long_enough = static_cast<double>(last_step_ - first_step_) >= updates_;
    // It is learnt all the same: the optimizer copes, and the units are the trainer's business.
    return !long_enough || harm_.loss().fell_by(1 - learnt_) ? Severity::kInfo : Severity::kWarning;
  }

  Finding finding() const {
    Finding finding =
        new_finding(kId, *severity(), harm() == Harm::kNone ? 0.6 : 0.9, {}, {first_step_, last_step_}, {});
    finding.message = fmt::format(
        "The targets of {} have mean {} and standard deviation {}; a model's outputs start near 0 with a size near 1.",
        regression()->name, number(targets_.mean()), number(targets_.deviation()));
    const bool by_mean = std::abs(targets_.mean()) > targets_.deviation();
    finding.evidence.push_back(evidence(by_mean ? "|mean| of the targets" : "standard deviation of the targets",
                                        std::max(std::abs(targets_.mean()), targets_.deviation()), ">", size_,
                                        by_mean ? Quantity::kTargetMean : Quantity::kTargetStd));
    if (harm() == Harm::kConstant) {
      finding.message +=
          fmt::format(" It does harm: the loss is {}, and giving the targets' mean for every sample would make it {}.",
                      number(harm_.loss().level(0.75, 1)), number(constant_loss()));
      finding.evidence.push_back(
          evidence("loss", harm_.loss().level(0.75, 1), ">", floor_ * constant_loss(), Quantity::kLoss));
    } else if (harm() != Harm::kNone) {
      finding.message += fmt::format(" It does harm: {}.", harm_.words());
      finding.evidence.push_back(loss_evidence(harm_));
    }
    finding.recommendations.push_back(normalize_target());
    const double excess = std::clamp(std::ceil(targets_.mean_square() / 10), 10.0, 1e4);
    if (harm() == Harm::kBlewUp) finding.recommendations.push_back(lower_learning_rate(rate_, excess, 0.3));
    return finding;
  }

  Recommendation normalize_target() const {
    const double mean = targets_.mean();
    const double deviation = targets_.deviation() > 1e-6 * std::abs(mean) ? targets_.deviation() : 1;
    Recommendation advice;
    advice.id = "normalize-target";
    advice.text = fmt::format("Subtract the targets' mean ({}) and divide by their standard deviation ({}).",
                              number(mean), number(deviation));
    advice.why =
        "Gradients grow with the distance of output and target; with targets of size 1 the usual initialisation and "
        "learning rates fit. Predictions are scaled back for use.";
    advice.code = fmt::format(
        "const double target_mean = {}, target_std = {};\n"
        "loss = {};\n"
        "// a prediction in the targets' unit: output * target_std + target_mean",
        literal(mean), literal(deviation), loss_call(regression()->name, "(target - target_mean) / target_std"));
    advice.confidence = 0.9;
    advice.values = {{"mean", {mean}}, {"std", {deviation}}};
    return advice;
  }

  double size_;
  double floor_;
  double learnt_;
  double updates_;
  double min_steps_;
  LossHarm harm_;
  LossOperators operators_;
  Alarm alarm_;
  stats::Moments targets_;
  std::size_t steps_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
  std::optional<double> rate_;
};

}  // namespace

Rule unnormalized_target() {
  RuleInfo info;
  info.id = kId;
  info.title = "Targets are not normalised";
  info.meaning =
      "A regression's targets are far from zero or far from unit scale. The first errors are as large as the targets; "
      "their gradients blow the weights up, or the model spends its training on learning one large constant.";
  info.method =
      "Pools mean and standard deviation of the targets of squared, absolute and Huber losses. An error if either is "
      "large and does harm: the loss blows up, does not fall, or after 200 updates is no lower than what the targets' "
      "mean alone gives. A warning while no harm is seen, information once the loss has fallen to a tenth.";
  info.limits =
      "Physical units with an optimizer to suit are learnt all the same. A model that scales its own output back looks "
      "the same to it. Targets that differ in scale among themselves are judged together.";
  info.options = {
      {"size", 30, "Standard deviation or |mean| of the targets.",
       "Squared errors a thousand times those of unit targets."},
      {"floor", 0.95, "Share of the targets' variance above which the loss is no better than a constant's.",
       "Batch noise of a few per cent."},
      {"learnt", 0.1, "Loss over its start below which large targets did no harm.", "An order of magnitude."},
      {"updates", 200, "Updates after which the loss must be below that of a constant.", "Practitioner review."},
      min_steps_option(20),
  };
  info.references = {"LeCun et al., Efficient BackProp, 1998, section 4.5"};
  info.effects = {{"collapsed-output"},
                  {"dead-units"},
                  {"diverging-loss"},
                  {"exploding-gradient"},
                  {"no-better-than-constant"},
                  {"nonfinite-gradient"},
                  {"nonfinite-loss"},
                  {"nonfinite-weight"},
                  {"output-range-mismatch"},
                  {"plateaued-loss"},
                  {"update-too-large"},
                  {"growing-weight"},
                  {"exploding-activation"},
                  {"nonfinite-activation"},
                  {"zero-gradient"},
                  {"saturated-activation"},
                  {"loss-spike"},
                  {"oscillating-loss"},
                  {"initial-loss"},
                  {"nonfinite-optimizer-state"}};
  return make_rule<UnnormalizedTarget>(std::move(info));
}

}  // namespace gradhealth::rules
