#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/optimizer_advice.h"
#include "rules/support/rule_support.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "half-precision-range";
constexpr double kLargestHalf = 65504;

class HalfPrecisionRange final : public Judge {
 public:
  explicit HalfPrecisionRange(const RuleOptions& options)
      : largest_(options.at("largest")),
        zeros_(options.at("zero-share")),
        growth_(options.at("zero-growth")),
        min_steps_(options.at("min-steps")),
        most_(options.at("max-findings")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    meet(run);
    if (activations_.empty() && weights_.empty()) return;
    last_step_ = record.step;
    bool seen = false;
    for (Signal& signal : activations_) seen |= observe_activation(signal, record);
    for (Weight& weight : weights_) seen |= observe_gradient(weight, record);
    steps_ += seen ? 1 : 0;
    std::size_t level = 0;
    for (const Signal& signal : activations_) level += signal.first_large ? 1 + (overflowed(signal) ? 1 : 0) : 0;
    for (const Weight& weight : weights_) level += underflows(weight) ? 1 + (harm_.stands_still() ? 1 : 0) : 0;
    alarm_.set(level);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    std::vector<Finding> findings;
    for (const Signal& signal : activations_)
      if (signal.first_large) findings.push_back(too_large(signal));
    for (const Weight& weight : weights_)
      if (underflows(weight)) findings.push_back(too_small(weight));
    if (!findings.empty()) return unhealthy(std::move(findings), most_);
    if (activations_.empty() && weights_.empty()) return NotEvaluated{"nothing was computed in float16"};
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    return Healthy{};
  }

 private:
  struct Signal {
    std::size_t index;
    Subject subject;
    double largest = 0;
    std::optional<std::int64_t> first_large;
    std::int64_t last_large = 0;
    std::optional<std::int64_t> nonfinite;  ///< First step, if it came after it was large.
  };
  struct Weight {
    std::size_t index;
    Subject subject;
    stats::Window early{10};
    stats::Window recent{10};
    std::optional<std::int64_t> since = std::nullopt;  ///< Its share of zeros is above the threshold.
  };

  void meet(const Run& run) {
    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    for (; met_activations_ < activations.size(); ++met_activations_)
      if (activations[met_activations_].dtype == "float16")
        activations_.push_back({met_activations_, activations[met_activations_], 0, std::nullopt, 0, std::nullopt});
    const std::vector<Subject>& parameters = run.of(Axis::kParameter);
    for (; met_parameters_ < parameters.size(); ++met_parameters_)
      if (parameters[met_parameters_].dtype == "float16" && parameters[met_parameters_].kind == "weight")
        weights_.push_back({met_parameters_, parameters[met_parameters_]});
  }

  bool observe_activation(Signal& signal, const StepRecord& record) const {
    const double largest = record.at(Quantity::kActivationMax, signal.index);
    // The largest number itself is what masks are filled with.
    if (largest > largest_ && largest != kLargestHalf && std::isfinite(largest)) {
      if (!signal.first_large) signal.first_large = record.step;
      signal.last_large = record.step;
      signal.largest = std::max(signal.largest, largest);
    }
    const bool bad = record.at(Quantity::kActivationNonfinite, signal.index) > 0;
    if (bad && signal.first_large && !signal.nonfinite) signal.nonfinite = record.step;
    return !std::isnan(largest);
  }

  bool observe_gradient(Weight& weight, const StepRecord& record) const {
    const double zeros = record.at(Quantity::kGradientZeros, weight.index);
    if (std::isnan(zeros) || weight.subject.size <= 0) return false;
    const double share = zeros / static_cast<double>(weight.subject.size);
    if (!weight.early.full()) weight.early.push(share);
    weight.recent.push(share);
    if (!(share > zeros_))
      weight.since.reset();
    else if (!weight.since)
      weight.since = record.step;
    return true;
  }

  bool overflowed(const Signal& signal) const { return signal.nonfinite && harm_.loss().nonfinite_step(); }

  bool underflows(const Weight& weight) const {
    if (!weight.since || !weight.recent.full() || static_cast<double>(steps_) < min_steps_) return false;
    const double now = weight.recent.median();
    // A loss that falls takes its gradients along; elements that were zero from the start belong to dead units.
    return now > zeros_ && now - weight.early.median() > growth_ && !harm_.learns();
  }

  Finding too_large(const Signal& signal) const {
    const bool error = overflowed(signal);
    Finding finding = new_finding(
        kId, error ? Severity::kError : Severity::kWarning, 0.9, ref(signal.subject),
        {*signal.first_large, signal.last_large},
        fmt::format(
            "{} reaches {} in float16, whose largest number is 65504{}.", signal.subject.name, number(signal.largest),
            error ? fmt::format("; it overflows at step {}, and the loss is not finite", *signal.nonfinite) : ""));
    finding.evidence.push_back(
        evidence("largest value", signal.largest, ">", largest_, Quantity::kActivationMax, signal.subject.name));
    finding.recommendations = {use_bfloat16()};
    return finding;
  }

  Finding too_small(const Weight& weight) const {
    Finding finding = new_finding(
        kId, harm_.stands_still() ? Severity::kWarning : Severity::kInfo, 0.6, ref(weight.subject),
        {*weight.since, last_step_},
        fmt::format(
            "{} % of the gradient of {} is exactly 0 in float16, at the start {} %: it falls below the smallest "
            "number; {}.",
            number(100 * weight.recent.median()), weight.subject.name, number(100 * weight.early.median()),
            harm_.words()));
    finding.evidence.push_back(evidence("share of gradient elements that are 0", weight.recent.median(), ">", zeros_,
                                        Quantity::kGradientZeros, weight.subject.name));
    finding.recommendations = {scale_loss(), use_bfloat16()};
    return finding;
  }

  static Recommendation use_bfloat16() {
    Recommendation advice;
    advice.id = "use-bfloat16";
    advice.text = "Compute in bfloat16 instead of float16.";
    advice.why = "It has the range of single precision, so that nothing overflows or vanishes that does not there.";
    advice.code = "net->to(torch::kBFloat16);  // before the optimizer is built\nx = x.to(torch::kBFloat16);";
    advice.confidence = 0.8;
    return advice;
  }

  static Recommendation scale_loss() {
    Recommendation advice;
    advice.id = "scale-loss";
    advice.text = "Scale the loss by 1024 (a guess) before backward() and the gradients back before the update.";
    advice.why = "float16 knows no number between 0 and 6e-8; gradients are often smaller.";
    advice.code =
        "(loss * 1024.0).backward();\n"
        "for (auto& p : net->parameters())\n"
        "  if (p.grad().defined()) p.mutable_grad() = p.grad() / 1024.0;\n"
        "optimizer.step();";
    advice.confidence = 0.4;
    advice.values = {{"scale", {1024}}};
    return advice;
  }

  double largest_;
  double zeros_;
  double growth_;
  double min_steps_;
  double most_;
  LossHarm harm_;
  Alarm alarm_;
  std::vector<Signal> activations_;
  std::vector<Weight> weights_;
  std::size_t met_activations_ = 0;
  std::size_t met_parameters_ = 0;
  std::size_t steps_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule half_precision_range() {
  RuleInfo info;
  info.id = kId;
  info.title = "Values leave the range of float16";
  info.meaning =
      "float16 ends at 65504 and knows nothing between 0 and 6e-8. Activations beyond the one become infinite, "
      "gradients "
      "below the other become exactly 0.";
  info.method =
      "Largest element of every float16 activation: a warning near the end of the range, an error if it then "
      "overflowed "
      "and the loss is not finite. Share of exact zeros in the gradients of float16 weights: information if it has "
      "grown "
      "far beyond that of the first steps while the loss did not halve, a warning if the loss stands still.";
  info.limits =
      "Masks filled with 65504 itself are passed over. A loss scaler that is too high makes gradients overflow and "
      "skips "
      "the step; that is its way of working and not looked at here. Dead units make gradients exactly 0, too.";
  info.options = {
      {"largest", 30000, "Largest |activation| that is far enough from 65504.", "Within a factor of two of overflow."},
      {"zero-share", 0.5, "Share of gradient elements that are exactly 0.", "Micikevicius et al., figure 3."},
      {"zero-growth", 0.3, "Rise of that share since the first steps.",
       "What dead units and padding make zero is so from the start."},
      min_steps_option(20),
      {"max-findings", 8, "Activations and weights that get a finding of their own.", "What a person reads."},
  };
  info.references = {"Micikevicius et al., Mixed precision training, arXiv 1710.03740"};
  info.effects = {{"nonfinite-activation"}, {"nonfinite-loss"},      {"nonfinite-gradient"},     {"nonfinite-weight"},
                  {"zero-gradient"},        {"step-without-effect"}, {"no-better-than-constant"}};
  return make_rule<HalfPrecisionRange>(std::move(info));
}

}  // namespace gradhealth::rules
