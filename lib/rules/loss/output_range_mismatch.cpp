#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_advice.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_harm.h"
#include "rules/support/loss_operators.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "output-range-mismatch";

struct Range {
  std::string_view activation;
  double low;
  double high;
};
constexpr std::array<Range, 5> kRanges{
    {{"relu", 0, HUGE_VAL}, {"sigmoid", 0, 1}, {"softmax", 0, 1}, {"softplus", 0, HUGE_VAL}, {"tanh", -1, 1}}};

const Range* range_of(const std::string& activation) {
  for (const Range& range : kRanges)
    if (range.activation == activation) return &range;
  return nullptr;
}

class OutputRangeMismatch final : public Judge {
 public:
  explicit OutputRangeMismatch(const RuleOptions& options)
      : outside_(options.at("outside")), share_(options.at("share")), min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    operators_.observe(record);
    if (!operators_.known()) return;
    ++count_;
    last_step_ = record.step;
    if (const LossOperator* loss = regression()) observe_targets(*range_of(loss->produced_by), record);
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const LossOperator* loss = mismatched()) return unhealthy({finding(*loss)});
    if (count_ == 0) return NotEvaluated{"no loss operator was recorded"};
    if (static_cast<double>(count_) < min_steps_) return too_few_steps(count_, min_steps_);
    return Healthy{};
  }

 private:
  const LossOperator* regression() const {
    for (const LossOperator& each : operators_.all())
      if (is_regression_loss(each.name) && range_of(each.produced_by) != nullptr) return &each;
    return nullptr;
  }

  /// A loss that applies the activation function itself, and so gets logits between 0 and 1.
  const LossOperator* squeezed_logits() const {
    for (const LossOperator& each : operators_.all())
      if (each.produced_by == "sigmoid" &&
          (each.name == "binary_cross_entropy_with_logits" || each.name == "cross_entropy_loss"))
        return &each;
    return nullptr;
  }

  void observe_targets(const Range& range, const StepRecord& record) {
    const double low = record.at(Quantity::kTargetMin);
    const double high = record.at(Quantity::kTargetMax);
    const double deviation = record.at(Quantity::kTargetStd);
    if (!std::isfinite(low) || !std::isfinite(high) || !(deviation > 0)) return;
    const double beyond = std::max(range.low - low, high - range.high);
    unreachable_.add(beyond > outside_ * deviation, record.step);
    farthest_ = std::max(farthest_, beyond / deviation);
    low_ = std::min(low_, low);
    high_ = std::max(high_, high);
  }

  bool out_of_range() const {
    return static_cast<double>(unreachable_.judged) >= min_steps_ && unreachable_.share() >= share_;
  }

  /// The loss whose input it is about, null if all is well.
  const LossOperator* mismatched() const {
    if (const LossOperator* squeezed = squeezed_logits()) return squeezed;
    return out_of_range() ? regression() : nullptr;
  }

  std::optional<Severity> severity() const {
    if (mismatched() == nullptr) return std::nullopt;
    return harm_.stands_still() ? Severity::kError : Severity::kWarning;
  }

  Finding finding(const LossOperator& loss) const {
    const bool squeezed = squeezed_logits() != nullptr;
    Finding finding = new_finding(kId, *severity(), 0.9, {{}, {}, loss.subject},
                                  {squeezed ? loss.step : unreachable_.first, last_step_}, {});
    if (squeezed) {
      finding.message = fmt::format(
          "A sigmoid enters {}, which expects logits: with numbers between 0 and 1 it can give no class less than a "
          "certain share.",
          loss.name);
      finding.evidence.push_back(
          evidence("step at which a sigmoid was seen to enter the loss", static_cast<double>(loss.step), "≥", 0));
      finding.recommendations.push_back(pass_logits(loss));
    } else {
      const Range& range = *range_of(loss.produced_by);
      finding.message = fmt::format(
          "The model's output leaves a {}, which reaches from {} to {}; the targets run from {} to {}, in {} of {} "
          "recorded steps beyond that.",
          loss.produced_by, number(range.low), std::isinf(range.high) ? "infinity" : number(range.high), number(low_),
          number(high_), unreachable_.seen, unreachable_.judged);
      finding.evidence.push_back(evidence("farthest target beyond the output's range, in the targets' deviations",
                                          farthest_, ">", outside_,
                                          range.low > low_ ? Quantity::kTargetMin : Quantity::kTargetMax));
      finding.recommendations.push_back(match_output_range(range, loss.subject));
    }
    if (harm_.stands_still()) {
      finding.message += fmt::format(" It does harm: {}.", harm_.words());
      finding.evidence.push_back(loss_evidence(harm_));
    }
    return finding;
  }

  Recommendation match_output_range(const Range& range, const std::string& subject) const {
    Recommendation advice;
    advice.id = "match-output-range";
    advice.text = fmt::format("Remove the {} behind {}, or stretch its range over the targets as the code does.",
                              range.activation, subject.empty() ? "the last layer" : subject);
    advice.why =
        "Targets that the output cannot reach keep their error for ever and push the last layer into saturation.";
    if (std::isinf(range.high)) {
      advice.code =
          fmt::format("output = output + {};  // {} starts at 0, the targets do not", literal(low_), range.activation);
      advice.values = {{"low", {low_}}};
    } else {
      // A little wider, since the ends themselves are reached by infinite inputs only.
      const double margin = 0.1 * (high_ - low_);
      const double low = low_ - margin;
      const double scale = (high_ + margin - low) / (range.high - range.low);
      advice.code = fmt::format("output = {} + {} * (output - {});", literal(low), literal(scale), literal(range.low));
      advice.values = {{"low", {low}}, {"scale", {scale}}};
    }
    advice.confidence = 0.8;
    return advice;
  }

  double outside_;
  double share_;
  double min_steps_;
  LossHarm harm_;
  LossOperators operators_;
  Alarm alarm_;
  Tally unreachable_;
  std::size_t count_ = 0;
  std::int64_t last_step_ = 0;
  double farthest_ = 0;
  double low_ = HUGE_VAL;
  double high_ = -HUGE_VAL;
};

}  // namespace

Rule output_range_mismatch() {
  RuleInfo info;
  info.id = kId;
  info.title = "Output cannot reach its targets";
  info.meaning =
      "The model's last activation function does not reach where the targets are: a sigmoid for targets of 50, a ReLU "
      "for negative ones, or a sigmoid in front of a loss that expects logits. Part of the error can never be removed, "
      "and the last layer saturates or dies in trying.";
  info.method =
      "Compares the range of the activation function that made the prediction of a regression loss with the recorded "
      "smallest and largest targets of each batch; for binary_cross_entropy_with_logits and cross_entropy_loss, a "
      "sigmoid in front is the mismatch. A warning; an error when the loss does not fall.";
  info.limits =
      "Sees the activation function only where it is the last operator before the loss. Single outliers among the "
      "targets do not count.";
  info.options = {
      {"outside", 0.1, "Distance of the batch's extreme target from the range, in the targets' standard deviations.",
       "Less costs less than noise."},
      {"share", 0.5, "Share of the batches with such a target.", "Not outliers, but a part of the data."},
      min_steps_option(10),
  };
  info.references = {"PyTorch documentation, torch.nn.BCEWithLogitsLoss", "Schoop et al., UMLAUT, CHI 2021"};
  info.effects = {{"collapsed-output"}, {"dead-units"},           {"no-better-than-constant"},
                  {"plateaued-loss"},   {"saturated-activation"}, {"vanishing-gradient"}};
  return make_rule<OutputRangeMismatch>(std::move(info));
}

}  // namespace gradhealth::rules
