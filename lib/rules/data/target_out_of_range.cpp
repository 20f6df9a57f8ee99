#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_operators.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "target-out-of-range";

class TargetOutOfRange final : public Judge {
 public:
  explicit TargetOutOfRange(const RuleOptions& options)
      : far_(options.at("far")),
        rounding_(options.at("rounding")),
        share_(options.at("share")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run&, const StepRecord& record) override {
    operators_.observe(record);
    const double least = record.at(Quantity::kTargetMin);
    const double most = record.at(Quantity::kTargetMax);
    last_step_ = record.step;
    if (!std::isfinite(least) || !std::isfinite(most) || !binary()) return;
    least_ = std::min(least_, least);
    most_ = std::max(most_, most);
    const double beyond = std::max(-least, most - 1);
    outside_.add(beyond > rounding_, record.step);
    far_outside_.add(beyond > far_, record.step);
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (severity()) return unhealthy({finding()});
    if (outside_.judged == 0) return NotEvaluated{"no targets of a binary cross entropy alone were recorded"};
    if (static_cast<double>(outside_.judged) < min_steps_) return too_few_steps(outside_.judged, min_steps_);
    return Healthy{};
  }

 private:
  /// Of several losses, the targets recorded are one's only.
  bool binary() const {
    return operators_.known() && std::all_of(operators_.all().begin(), operators_.all().end(),
                                             [](const LossOperator& each) { return is_binary_loss(each.name); });
  }

  std::optional<Severity> severity() const {
    if (far_outside_.share() >= share_) return Severity::kError;
    if (outside_.share() >= share_) return Severity::kInfo;
    return std::nullopt;
  }

  Finding finding() const {
    const LossOperator& loss = operators_.all().front();
    const Severity now = *severity();
    const bool above = most_ - 1 > -least_;
    Finding finding = new_finding(kId, now, 0.95, {{}, {}, loss.subject},
                                  {now == Severity::kError ? far_outside_.first : outside_.first, last_step_}, {});
    finding.message = fmt::format(
        "The targets of {} reach from {} to {}, but are probabilities to it, from 0 to 1. Beyond that the loss has no "
        "lowest value: it falls for ever as the outputs grow.",
        loss.name, number(least_), number(most_));
    finding.evidence.push_back(above ? evidence("largest target", most_, ">", 1, Quantity::kTargetMax)
                                     : evidence("smallest target", least_, "<", 0, Quantity::kTargetMin));
    finding.recommendations.push_back(now == Severity::kError ? rescale(loss) : clamp(loss));
    return finding;
  }

  Recommendation rescale(const LossOperator& loss) const {
    Recommendation advice;
    advice.id = "rescale-target";
    advice.confidence = 0.9;
    const bool is_signed = least_ < 0;
    if (is_signed && std::abs(least_ + 1) < far_ && most_ < 1 + far_) {
      advice.text = "Shift the targets from -1 … 1 to 0 … 1.";
      advice.code = fmt::format("loss = {};", loss_call(loss.name, "(target + 1) / 2"));
      advice.values = {{"mean", {-1}}, {"std", {2}}};
    } else if (!is_signed && most_ <= 255) {
      const double scale = most_ > 100 ? 255 : most_;
      advice.text = fmt::format("Divide the targets by {}.", number(scale));
      advice.code = fmt::format("loss = {};", loss_call(loss.name, fmt::format("target / {}", literal(scale))));
      advice.values = {{"mean", {0}}, {"std", {scale}}};
    } else {
      advice.text = "Use a squared error: these targets are numbers, not probabilities.";
      advice.code = "loss = torch::mse_loss(output, target);";
      advice.confidence = 0.6;
    }
    advice.why =
        "Binary cross entropy compares probabilities: only between 0 and 1 it is smallest where both are equal.";
    return advice;
  }

  Recommendation clamp(const LossOperator& loss) const {
    Recommendation advice;
    advice.id = "clamp-target";
    advice.text = "Keep the targets between 0 and 1, unless they are meant to be beyond.";
    advice.why = "A target beyond 1 asks for ever larger outputs; some adversarial trainings want a little of it.";
    advice.code = fmt::format("loss = {};", loss_call(loss.name, "target.clamp(0, 1)"));
    advice.confidence = 0.5;
    return advice;
  }

  double far_;
  double rounding_;
  double share_;
  double min_steps_;
  LossOperators operators_;
  Alarm alarm_;
  Tally outside_;
  Tally far_outside_;
  double least_ = HUGE_VAL;
  double most_ = -HUGE_VAL;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule target_out_of_range() {
  RuleInfo info;
  info.id = kId;
  info.title = "Targets are no probabilities";
  info.meaning =
      "Binary cross entropy is given targets beyond 0 and 1: pixels from 0 to 255, labels -1 and 1, or class numbers. "
      "It "
      "raises no error; the loss becomes negative and falls without end, which looks like progress.";
  info.method =
      "Smallest and largest target of each recorded step, where the loss is binary cross entropy alone. An error if "
      "most "
      "steps have targets far beyond the range, information if they are a little beyond.";
  info.limits = "Losses with further operators between predictions and targets are not judged.";
  info.options = {
      {"far", 0.5, "Distance beyond 0 or 1 that is an error.",
       "Noisy labels of adversarial trainings go up to 0.2 beyond (Chintala et al., How to train a GAN, 2016)."},
      {"rounding", 0.001, "Distance that is rounding.", "bfloat16 near 1 has steps of 0.004 or 0.008."},
      {"share", 0.5, "Share of the recorded steps with such targets.", "Single damaged samples are not meant."},
      min_steps_option(10),
  };
  info.references = {"Goodfellow, Bengio, Courville, Deep Learning, 2016, section 6.2.2.2"};
  info.effects = {{"unbounded-loss"},          {"negative-loss"},        {"update-too-large"},
                  {"growing-weight"},          {"exploding-gradient"},   {"exploding-activation"},
                  {"diverging-loss"},          {"nonfinite-loss"},       {"nonfinite-gradient"},
                  {"nonfinite-activation"},    {"nonfinite-weight"},     {"nonfinite-optimizer-state"},
                  {"output-range-mismatch"},   {"saturated-activation"}, {"dead-units"},
                  {"zero-gradient"},           {"loss-spike"},           {"collapsed-output"},
                  {"no-better-than-constant"}, {"plateaued-loss"},       {"oscillating-loss"}};
  return make_rule<TargetOutOfRange>(std::move(info));
}

}  // namespace gradhealth::rules
