#include <cmath>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/nonfinite_origin.h"
#include "rules/support/rule_support.h"
#include "stats/quantile.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "nonfinite-gradient";

/// Every parameter's update was recorded as exactly nothing, as when a trainer skips a bad step.
bool step_was_skipped(const StepRecord& record) {
  bool seen = false;
  for (const double ratio : record.values(Quantity::kUpdateRatio)) {
    if (std::isnan(ratio)) continue;
    if (ratio != 0) return false;
    seen = true;
  }
  return seen;
}

class NonfiniteGradient final : public Judge {
 public:
  explicit NonfiniteGradient(const RuleOptions& options) : min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    const NonfiniteCount count = count_nonfinite(record, Quantity::kGradientNonfinite);
    if (!count.recorded) return;
    ++steps_;
    if (count.subjects == 0) {
      if (applied_ == 0) healthy_norm_.push(global_gradient_norm(record));
      return;
    }
    last_step_ = record.step;
    if (origin_.empty()) origin_ = origin_sentence(record);
    const bool skipped = step_was_skipped(record);
    if (bad_steps_++ > 0 && (applied_ > 0 || skipped)) return;
    applied_ += skipped ? 0 : 1;
    first_step_ = record.step;
    parameters_ = count.subjects;
    parameter_ = run.of(Axis::kParameter)[count.first];
    elements_ = count.elements;
    const NonfiniteCount entered = count_nonfinite(record, Quantity::kActivationGradientNonfinite);
    // The backward pass runs against forward order: the last bad one is where it began.
    entry_ = entered.subjects > 0 ? run.of(Axis::kActivation)[entered.last] : Subject{};
    forward_bad_ =
        count_nonfinite(record, Quantity::kActivationNonfinite).subjects > 0 || record.at(Quantity::kLossNonfinite) > 0;
  }

  std::size_t alarms() const override { return (bad_steps_ > 0 ? 1 : 0) + (applied_ > 0 ? 1 : 0); }

  Outcome outcome() const override {
    if (bad_steps_ == 0) {
      if (steps_ == 0) return NotEvaluated{"no gradients were recorded"};
      if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
      return Healthy{};
    }
    Finding finding;
    finding.rule = kId;
    finding.severity = applied_ > 0 ? Severity::kError : Severity::kInfo;
    finding.confidence = forward_bad_ ? 0.6 : 0.9;
    finding.subject = entry_.name.empty() ? ref(parameter_) : ref(entry_);
    finding.first_step = first_step_;
    finding.last_step = last_step_;
    finding.message = fmt::format("The gradient of {}{} is not finite at step {}: {:.0f} elements.", parameter_.name,
                                  parameters_ > 1 ? fmt::format(" and {} more parameters", parameters_ - 1) : "",
                                  first_step_, elements_);
    if (applied_ == 0)
      finding.message += " Every such step was skipped: no weight changed.";
    else if (forward_bad_)
      finding.message += " The forward pass of this step was not finite either.";
    else if (!entry_.name.empty())
      finding.message += fmt::format(" Loss and activations are finite; it enters the backward pass at {} ({}).",
                                     entry_.name, entry_.kind);
    finding.message += origin_;
    finding.evidence.push_back(
        evidence("non-finite gradient elements", elements_, ">", 0, Quantity::kGradientNonfinite, parameter_.name));
    if (!entry_.name.empty())
      finding.evidence.push_back(evidence("activation where it enters the backward pass", 1, "≥", 1,
                                          Quantity::kActivationGradientNonfinite, entry_.name));
    finding.recommendations = advice();
    return unhealthy({std::move(finding)});
  }

 private:
  std::vector<Recommendation> advice() const {
    Recommendation guard;
    guard.id = "guard-derivative";
    guard.text =
        "Keep operands away from the points where a derivative is infinite: root, norm, log and division at 0.";
    guard.why = "The derivative of sqrt(x) at 0 is infinite although sqrt(0) is 0; a zero upstream makes it NaN.";
    guard.code = "x = torch::sqrt(x.clamp_min(1e-8));";
    guard.confidence = forward_bad_ ? 0.3 : 0.6;
    if (forward_bad_) guard.text += " A guess here: the forward pass was bad before.";
    Recommendation skip;
    skip.id = "skip-nonfinite-step";
    skip.text = "Let a non-finite gradient stop the run instead of reaching the weights.";
    skip.why = "After one such update the weights are lost.";
    const double limit = healthy_norm_.count() > 0 ? healthy_norm_.value() : 1.0;
    skip.code = fmt::format(
        "torch::nn::utils::clip_grad_norm_(net->parameters(), {}, 2.0, /*error_if_nonfinite=*/true);\n"
        "optimizer.step();",
        literal(limit));
    skip.confidence = 0.5;
    skip.values = {{"max_norm", {limit}}};
    return {guard, skip};
  }

  double min_steps_;
  std::size_t steps_ = 0;
  std::size_t bad_steps_ = 0;
  std::size_t applied_ = 0;  ///< Bad steps that were not seen to be skipped.
  std::size_t parameters_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
  double elements_ = 0;
  bool forward_bad_ = false;
  stats::Quantile healthy_norm_{0.95};
  Subject parameter_;
  Subject entry_;
  std::string origin_;  ///< A sentence on where it began, if the run knows.
};

}  // namespace

Rule nonfinite_gradient() {
  RuleInfo info;
  info.id = kId;
  info.title = "Gradient is not finite";
  info.meaning =
      "The backward pass produces NaN or infinity. Where loss and activations are finite, the fault is a derivative "
      "that does not exist or overflows; the update that follows destroys the weights.";
  info.method =
      "Counts non-finite gradient elements per parameter. The last activation in forward order whose gradient is bad "
      "is where it entered the backward pass. An error, unless no weight changed at those steps: then information, "
      "since the trainer skips them.";
  info.limits =
      "A skipped step is recognised by update ratios of exactly 0; without update ratios it counts as an error.";
  info.options = {min_steps_option(10)};
  info.references = {"PyTorch issue 2421: NaN gradients of sqrt and norm at zero"};
  info.effects = {{"nonfinite-weight"}, {"nonfinite-optimizer-state"}, {"no-better-than-constant"}};
  return make_rule<NonfiniteGradient>(std::move(info));
}

}  // namespace gradhealth::rules
