#include <cmath>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_operators.h"
#include "rules/support/loss_patterns.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "softmax-over-one-unit";

class SoftmaxOverOneUnit final : public Judge {
 public:
  explicit SoftmaxOverOneUnit(const RuleOptions& options)
      : steps_(options.at("steps")), min_steps_(options.at("min-steps")) {}

  void observe(const Run&, const StepRecord& record) override {
    operators_.observe(record);
    take_patterns(patterns_, "softmax-over-one", record);
    const double norm = global_gradient_norm(record);
    if (!std::isnan(norm)) silent_.add(norm == 0, record.step);
    if (operators_.known()) ++count_;
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
  bool without_gradient() const {
    return static_cast<double>(silent_.seen) >= steps_ && silent_.seen == silent_.judged;
  }

  /// The loss that takes the softmax's ones, or that is a softmax over one logit itself.
  const LossOperator* loss() const {
    for (const LossOperator& each : operators_.all()) {
      const bool one = each.prediction.size() >= 2 && each.prediction[1] == 1;
      const bool after_softmax = each.produced_by == "softmax" || each.produced_by == "log_softmax";
      // A softmax over the samples gives such a column too; only the pattern tells along what it was taken.
      if (one && (each.name == "cross_entropy_loss" || (after_softmax && !patterns_.empty()))) return &each;
      for (const OperatorPattern& pattern : patterns_)
        if (!pattern.subject.empty() && pattern.subject == each.subject) return &each;
    }
    return nullptr;
  }

  std::optional<Severity> severity() const {
    // Attention over a single key is a softmax over one too, and healthy: the loss does not hang on it.
    if (loss() != nullptr) return Severity::kError;
    if (!patterns_.empty() && without_gradient()) return Severity::kError;
    return std::nullopt;
  }

  Finding finding() const {
    const LossOperator* loss = this->loss();
    // Without a pattern it was the loss that told.
    const bool by_loss = loss != nullptr && patterns_.empty();
    const std::string subject = by_loss ? loss->subject : patterns_.at(0).subject;
    const std::int64_t since = by_loss ? loss->step : patterns_.at(0).step;
    Finding finding = new_finding(kId, Severity::kError, 0.95, {{}, {}, subject}, {since, last_step_}, {});
    finding.message = fmt::format("A softmax is taken over one single value{}: it gives 1 whatever the model says.",
                                  loss != nullptr ? ", and the loss is computed from it" : "");
    finding.evidence.push_back(evidence("values that the softmax is taken over", 1, "=", 1));
    if (without_gradient()) {
      finding.message += fmt::format(" Every gradient was exactly 0 in all {} recorded steps.", silent_.seen);
      finding.evidence.push_back(evidence("largest global gradient norm", 0, "=", 0, Quantity::kGlobalGradientNorm));
    }
    Recommendation advice;
    advice.id = "use-bce-with-logits";
    advice.text = "Leave the softmax out and use binary cross entropy on the one logit, or give the model two outputs.";
    advice.why = "The softmax of one number is 1 with derivative 0; a sigmoid tells two classes apart with one number.";
    advice.code =
        "// output: what the last layer gives, without softmax\n"
        "loss = torch::binary_cross_entropy_with_logits(output.flatten(), target.flatten().to(output.dtype()));";
    advice.confidence = 0.9;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double steps_;
  double min_steps_;
  LossOperators operators_;
  std::vector<OperatorPattern> patterns_;
  Alarm alarm_;
  Tally silent_;
  std::size_t count_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule softmax_over_one_unit() {
  RuleInfo info;
  info.id = kId;
  info.title = "Softmax is taken over one unit";
  info.meaning =
      "A model with one output ends in a softmax. The softmax of one number is always 1 and passes no gradient on: "
      "nothing is trained at all.";
  info.method =
      "A softmax along a dimension of size 1 was seen, and either the loss is computed from its result or every "
      "gradient "
      "is exactly 0. Cross entropy over one class is the same.";
  info.limits = "Attention over one key is healthy and not told.";
  info.options = {
      {"steps", 5, "Recorded steps whose gradients are all exactly 0.", "One is an accident."},
      min_steps_option(10),
  };
  info.references = {"Zhang et al., AUTOTRAINER, ICSE 2021"};
  info.effects = {{"collapsed-output"}, {"no-better-than-constant"}, {"plateaued-loss"}, {"zero-gradient"},
                  {"no-gradient"},      {"vanishing-gradient"}};
  return make_rule<SoftmaxOverOneUnit>(std::move(info));
}

}  // namespace gradhealth::rules
