#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/loss_advice.h"
#include "rules/support/loss_patterns.h"
#include "rules/support/nonfinite_origin.h"
#include "rules/support/operators.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "nonfinite-activation";

Recommendation guard_operator(const std::string& kind, double before) {
  Recommendation advice;
  advice.confidence = 0.7;
  const std::string op = operator_name(kind);
  if (op == "log" || op == "softmax") {
    advice.id = "use-log-softmax";
    advice.text = "Use log_softmax instead of log(softmax), and log(x + eps) where x can be 0.";
    advice.why = "softmax underflows to 0 for logits about 100 below the largest, and log(0) is -infinity.";
    advice.code = "x = torch::log_softmax(x, 1);  // or torch::log(x.clamp_min(1e-8));";
  } else if (op == "sqrt" || op == "rsqrt" || op == "div" || op == "reciprocal" || op == "pow" ||
             op.find("norm") != std::string::npos) {
    advice.id = "add-epsilon";
    advice.text = "Keep the operand of the root or the divisor away from 0.";
    advice.why = "Division by 0 and the root's derivative at 0 are infinite.";
    advice.code = "x = torch::sqrt(x.clamp_min(1e-8));  // or numerator / (divisor + 1e-8);";
  } else if (op == "exp" || op == "expm1" || op == "sinh" || op == "cosh") {
    advice.id = "clamp-before-exp";
    advice.text = "Clamp before exp.";
    advice.why = "exp overflows single precision above 88.";
    advice.code = "x = torch::exp(x.clamp_max(20.0));";
  } else {
    advice.id = "normalize-before-overflow";
    advice.text = std::isfinite(before) && before > 1e4
                      ? fmt::format("Bring the signal down before this operator: |x| was {} already.", number(before))
                      : "Bound what enters this operator.";
    advice.why = "Single precision overflows at 3.4e38, half precision at 65504.";
    advice.code = "x = torch::layer_norm(x, {x.size(-1)});";
    advice.confidence = 0.4;
    advice.text += " This is a guess: the operator gives no hint.";
  }
  return advice;
}

class NonfiniteActivation final : public Judge {
 public:
  explicit NonfiniteActivation(const RuleOptions& options) : min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    take_patterns(patterns_, "log-of-softmax", record);
    const NonfiniteCount count = count_nonfinite(record, Quantity::kActivationNonfinite);
    if (!count.recorded) return;
    ++steps_;
    if (count.subjects == 0) return;
    last_step_ = record.step;
    if (origin_.empty()) origin_ = origin_sentence(record);
    if (bad_steps_++ > 0) return;
    first_step_ = record.step;
    activations_ = count.subjects;
    elements_ = record.at(Quantity::kActivationNonfinite, count.first);
    subject_ = run.of(Axis::kActivation)[count.first];
    input_bad_ = count_nonfinite(record, Quantity::kInputNonfinite).subjects > 0;
    weight_bad_ = count_nonfinite(record, Quantity::kWeightNonfinite).subjects > 0;
    if (count.first > 0) {
      before_ = run.of(Axis::kActivation)[count.first - 1];
      before_max_ = record.at(Quantity::kActivationMax, count.first - 1);
    }
  }

  std::size_t alarms() const override { return bad_steps_ > 0 ? 1 : 0; }

  Outcome outcome() const override {
    if (bad_steps_ == 0) {
      if (steps_ == 0) return NotEvaluated{"no activations were recorded"};
      if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
      return Healthy{};
    }
    Finding finding;
    finding.rule = kId;
    finding.severity = Severity::kError;
    finding.confidence = input_bad_ || weight_bad_ ? 0.5 : 0.9;
    finding.subject = ref(subject_);
    finding.first_step = first_step_;
    finding.last_step = last_step_;
    finding.message = fmt::format(
        "The forward pass of step {} turns non-finite at {} ({}): {:.0f} elements, and {} activation{} in "
        "all.",
        first_step_, subject_.name, subject_.kind, elements_, activations_, activations_ == 1 ? "" : "s");
    if (input_bad_)
      finding.message += " The input was not finite before.";
    else if (weight_bad_)
      finding.message += " Weights were not finite before.";
    else if (std::isfinite(before_max_))
      finding.message +=
          fmt::format(" {} before it was finite, at most {} in size.", before_.name, number(before_max_));
    finding.message += origin_;
    finding.evidence.push_back(
        evidence("non-finite elements", elements_, ">", 0, Quantity::kActivationNonfinite, subject_.name));
    if (of_softmax()) finding.recommendations.push_back(use_stable_loss());
    finding.recommendations.push_back(guard_operator(subject_.kind, before_max_));
    return unhealthy({std::move(finding)});
  }

 private:
  /// A logarithm where log(softmax(x)) was seen.
  bool of_softmax() const {
    const auto is_here = [this](const OperatorPattern& pattern) {
      return pattern.subject.empty() || pattern.subject.substr(0, pattern.subject.find(':')) == subject_.module;
    };
    return operator_name(subject_.kind) == "log" && std::any_of(patterns_.begin(), patterns_.end(), is_here);
  }

  double min_steps_;
  std::size_t steps_ = 0;
  std::size_t bad_steps_ = 0;
  std::size_t activations_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
  double elements_ = 0;
  double before_max_ = NAN;
  bool input_bad_ = false;
  bool weight_bad_ = false;
  Subject subject_;
  Subject before_;
  std::vector<OperatorPattern> patterns_;  ///< log(softmax(x)).
  std::string origin_;                     ///< A sentence on where it began, if the run knows.
};

}  // namespace

Rule nonfinite_activation() {
  RuleInfo info;
  info.id = kId;
  info.title = "Activation is not finite";
  info.meaning =
      "The forward pass produces NaN or infinity. The first activation in forward order that does names the operator "
      "in which the values stop being numbers; everything behind it inherits them.";
  info.method =
      "At the first recorded step with non-finite elements, names the first such activation in forward order, its "
      "operator and the size of the values before it. Any is an error; whether input or weights were bad before is "
      "told, and linked as the cause.";
  info.limits =
      "Cannot tell the -infinity of an attention mask before a softmax from a fault, if such a mask is an activation "
      "of its own. Operators that are not recorded as activations show at the next one that is.";
  info.options = {min_steps_option(10)};
  info.references = {"Wardat et al., DeepLocalize, ICSE 2021", "Hugging Face Transformers, DebugUnderflowOverflow"};
  info.effects = {{"nonfinite-loss"},   {"nonfinite-gradient"},        {"nonfinite-weight"},
                  {"nonfinite-buffer"}, {"nonfinite-optimizer-state"}, {"no-better-than-constant"}};
  return make_rule<NonfiniteActivation>(std::move(info));
}

}  // namespace gradhealth::rules
