#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/constant_loss.h"
#include "rules/support/loss_advice.h"
#include "rules/support/loss_patterns.h"
#include "rules/support/loss_track.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "broadcast-target";

std::int64_t elements(const std::vector<std::int64_t>& shape) {
  std::int64_t product = 1;
  for (const std::int64_t size : shape) product *= size;
  return product;
}

/// A column against a row of as many: each meets each.
bool crosses(const std::vector<std::int64_t>& a, const std::vector<std::int64_t>& b) {
  return !a.empty() && !b.empty() && a != b && elements(a) == elements(b) && elements(a) > 1;
}

class BroadcastTarget final : public Judge {
 public:
  explicit BroadcastTarget(const RuleOptions& options)
      : learnt_(options.at("learnt")), min_steps_(options.at("min-steps")) {}

  void observe(const Run&, const StepRecord& record) override {
    floor_.observe(record);
    loss_.observe(record);
    take_patterns(patterns_, "broadcast-in-loss", record);
    if (floor_.operators().known()) ++count_;
    if (!record.events.empty()) pair_ = find_pair();
    last_step_ = record.step;
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
  struct Pair {
    std::string op;
    std::string subject;
    std::vector<std::int64_t> prediction;
    std::vector<std::int64_t> target;
    std::int64_t step = 0;
    bool crossed = false;
  };

  std::optional<Pair> find_pair() const {
    for (const LossOperator& each : floor_.operators().all())
      if ((is_regression_loss(each.name) || is_binary_loss(each.name)) && crosses(each.prediction, each.target))
        return Pair{each.name, each.subject, each.prediction, each.target, each.step, true};
    if (patterns_.empty()) return std::nullopt;
    const OperatorPattern& first = patterns_.front();
    return Pair{first.op, first.subject, first.left, first.right, first.step, crosses(first.left, first.right)};
  }

  std::optional<Severity> severity() const {
    if (!pair_) return std::nullopt;
    // Broadcasting one number over all samples, or a loss over all pairs, may be meant; it learns then.
    const bool learns = loss_.count() >= 8 && loss_.fell_by(1 - learnt_);
    return pair_->crossed && !learns ? Severity::kError : Severity::kWarning;
  }

  Finding finding() const {
    const Pair& found = *pair_;
    Finding finding = new_finding(kId, *severity(), found.crossed ? 0.95 : 0.6, {{}, {}, found.subject},
                                  {found.step, last_step_}, {});
    finding.message = fmt::format(
        "{} compares {} with {} and broadcasts them: every sample's prediction is compared with other samples' targets "
        "too.",
        found.op, shape_text(found.prediction), shape_text(found.target));
    const auto larger = static_cast<double>(std::max(elements(found.prediction), elements(found.target)));
    const double compared = !patterns_.empty() && !patterns_[0].output.empty()
                                ? static_cast<double>(elements(patterns_[0].output))
                                : larger * larger;
    finding.evidence.push_back(
        evidence("elements that are compared, of predictions the threshold", compared, ">", larger));
    if (const double variance = floor_.targets().variance(); found.crossed && variance > 0) {
      finding.message += fmt::format(
          " The best answer to that is the targets' mean, with a squared error of their variance, {}; the loss is {}.",
          number(variance), number(loss_.recent()));
      finding.evidence.push_back(evidence("loss, against a share of the targets' variance", loss_.recent(), "≥",
                                          learnt_ * variance, Quantity::kLoss));
      if (loss_.recent() < learnt_ * variance) finding.evidence.back().relation = "<";
    }
    finding.recommendations.push_back(match_target_shape(found.op));
    return finding;
  }

  double learnt_;
  double min_steps_;
  ConstantLoss floor_;
  LossTrack loss_;
  std::vector<OperatorPattern> patterns_;
  std::optional<Pair> pair_;
  Alarm alarm_;
  std::size_t count_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule broadcast_target() {
  RuleInfo info;
  info.id = kId;
  info.title = "Targets are broadcast against predictions";
  info.meaning =
      "Predictions of shape [B, 1] meet targets of shape [B]. Broadcasting makes a B × B matrix of them, so that every "
      "prediction is pulled towards every target; the model learns the targets' mean and nothing else.";
  info.method =
      "An elementwise operator between predictions and targets gave more elements than either has, or a regression "
      "loss was called with as many predictions as targets in different shapes. An error where a column meets a row; a "
      "warning for other broadcasts, and where the loss has fallen to a tenth all the same.";
  info.limits = "A loss over all pairs of samples that is written with broadcasting gets a warning or an error.";
  info.options = {
      {"learnt", 0.1, "Loss over its start below which the broadcast does no harm.", "An order of magnitude."},
      min_steps_option(10),
  };
  info.references = {"Ben Braiek and Khomh, TheDeepChecker, 2022", "PyTorch documentation, broadcasting semantics"};
  info.effects = {{"collapsed-output"}, {"no-better-than-constant"}, {"plateaued-loss"}};
  return make_rule<BroadcastTarget>(std::move(info));
}

}  // namespace gradhealth::rules
