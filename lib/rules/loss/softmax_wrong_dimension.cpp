#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_operators.h"
#include "rules/support/loss_patterns.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "softmax-wrong-dimension";

class SoftmaxWrongDimension final : public Judge {
 public:
  explicit SoftmaxWrongDimension(const RuleOptions& options) : min_steps_(options.at("min-steps")) {}

  void observe(const Run&, const StepRecord& record) override {
    operators_.observe(record);
    take_patterns(patterns_, "softmax-beside-classes", record);
    if (operators_.known()) ++count_;
    last_step_ = record.step;
    alarm_.set(patterns_.size());
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (!patterns_.empty()) {
      std::vector<Finding> findings;
      for (const OperatorPattern& pattern : patterns_) findings.push_back(finding(pattern));
      return unhealthy(std::move(findings));
    }
    if (count_ == 0) return NotEvaluated{"no loss operator was recorded"};
    if (static_cast<double>(count_) < min_steps_) return too_few_steps(count_, min_steps_);
    return Healthy{};
  }

 private:
  Finding finding(const OperatorPattern& pattern) const {
    const std::size_t classes = pattern.left.size() > 1 ? 1 : 0;
    Finding finding =
        new_finding(kId, Severity::kError, 0.95, {{}, {}, pattern.subject}, {pattern.step, last_step_}, {});
    finding.message = fmt::format(
        "{} was taken along dimension {} of predictions of the shape {}, over {}, while the loss has its {} classes "
        "along dimension {}: what it calls probabilities of a sample's classes do not sum to 1, and the loss cannot "
        "fall as it should.",
        pattern.op, pattern.along, shape_text(pattern.left),
        pattern.along == 0 ? "the samples of the batch" : "the positions",
        classes < pattern.left.size() ? pattern.left[classes] : 0, classes);
    finding.evidence.push_back(evidence(fmt::format("dimension of {}, against that of the classes", pattern.op),
                                        static_cast<double>(pattern.along), "≠", static_cast<double>(classes)));
    Recommendation advice;
    advice.id = "softmax-over-classes";
    advice.text = fmt::format("Leave it out and use cross entropy, or take it along dimension {}.", classes);
    advice.why = "Cross entropy takes the softmax over the classes itself, and more exactly.";
    advice.code = fmt::format(
        "// output: what the last layer gives, without softmax\n"
        "loss = torch::cross_entropy_loss(output, target);\n"
        "// or: torch::nll_loss(torch::log_softmax(output, {}), target)",
        classes);
    advice.confidence = 0.9;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double min_steps_;
  LossOperators operators_;
  std::vector<OperatorPattern> patterns_;
  Alarm alarm_;
  std::size_t count_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule softmax_wrong_dimension() {
  RuleInfo info;
  info.id = kId;
  info.title = "Softmax is taken along the wrong dimension";
  info.meaning =
      "The softmax in front of a loss runs over the samples of the batch, or over positions, instead of over the "
      "classes. "
      "It raises no error, and each sample's prediction depends on the others in its batch.";
  info.method =
      "The operators between model and loss: a loss of class indices takes the result of a softmax, or of its "
      "logarithm, "
      "in the shape in which that left it, and the two have different dimensions in mind.";
  info.limits =
      "Not told where the result was reshaped or transposed in between, or where both dimensions have the same size, "
      "as in "
      "contrastive losses over all pairs of a batch.";
  info.options = {min_steps_option(10)};
  info.references = {"Karpathy, A recipe for training neural networks, 2019"};
  info.effects = {{"collapsed-output"}, {"no-better-than-constant"}, {"plateaued-loss"}, {"initial-loss"},
                  {"loss-spike"},       {"oscillating-loss"},        {"diverging-loss"}, {"double-softmax"}};
  return make_rule<SoftmaxWrongDimension>(std::move(info));
}

}  // namespace gradhealth::rules
