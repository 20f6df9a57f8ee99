#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "unregistered-parameter";

class UnregisteredParameter final : public Judge {
 public:
  explicit UnregisteredParameter(const RuleOptions& options)
      : min_steps_(options.at("min-steps")), most_(options.at("max-findings")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    // Operators were watched only where activations are there.
    if (any_recorded(record, Quantity::kActivationRms) || any_recorded(record, Quantity::kActivationNonfinite))
      ++steps_;
    last_step_ = record.step;
    for (const Event& event : record.events)
      if (event.kind == kId) strangers_.push_back(event);
    alarm_.set(strangers_.size() * 2 + (!strangers_.empty() && harm_.stands_still() ? 1 : 0));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    std::vector<Finding> findings;
    for (const Event& stranger : strangers_) findings.push_back(finding(stranger));
    if (!findings.empty()) return unhealthy(std::move(findings), most_);
    if (steps_ == 0) return NotEvaluated{"no operators were watched: no activations were recorded"};
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    return Healthy{};
  }

 private:
  Finding finding(const Event& stranger) const {
    const bool from_input = stranger.subject.empty() || stranger.subject == "the input";
    Finding finding = new_finding(kId, harm_.stands_still() ? Severity::kError : Severity::kWarning, 0.8,
                                  {{}, from_input ? "" : stranger.subject, ""}, {stranger.step, last_step_},
                                  fmt::format("{}: no optimizer gets it from parameters(), and it is not saved; {}.",
                                              stranger.text, harm_.words()));
    finding.evidence.push_back(evidence("tensors with requires_grad that the model uses but has not registered",
                                        static_cast<double>(strangers_.size()), ">", 0));
    Recommendation advice;
    advice.id = "register-parameter";
    advice.text = fmt::format("Register the tensor that {} uses, with register_parameter() in the constructor.",
                              from_input ? "the model" : "the part behind " + stranger.subject);
    advice.why =
        "parameters() lists registered tensors only. A member that is assigned a new tensor later, or a plain "
        "torch::Tensor with requires_grad, is trained by nobody, saved by nobody and moved to no device.";
    advice.code =
        "// in the module's constructor, instead of a plain tensor:\n"
        "auto weight = net->register_parameter(\"weight\", torch::randn({16, 16}));\n"
        "// new values later: copy into it, do not assign\n"
        "{\n"
        "  torch::NoGradGuard no_grad;\n"
        "  weight.copy_(torch::zeros_like(weight));\n"
        "}";
    advice.confidence = 0.8;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double min_steps_;
  double most_;
  LossHarm harm_;
  Alarm alarm_;
  std::vector<Event> strangers_;
  std::size_t steps_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule unregistered_parameter() {
  RuleInfo info;
  info.id = kId;
  info.title = "Trainable tensor is not registered";
  info.meaning =
      "The model computes with a tensor that requires a gradient but is none of its parameters. The optimizer does not "
      "know it, so that it keeps its initial values, and it is neither saved nor moved to another device.";
  info.method =
      "While operators are watched, every leaf with requires_grad that is combined with the model's activations and "
      "whose "
      "result goes on into a layer of the model is looked up among the parameters. Warning; an error if the loss "
      "stands "
      "still.";
  info.limits =
      "A tensor that is trained by an optimizer of its own on purpose, as a learned prompt, is told as well. Tensors "
      "after the last layer are not seen, for they may belong to the loss.";
  info.options = {
      min_steps_option(10),
      {"max-findings", 8, "Tensors that get a finding of their own.", "What a person reads."},
  };
  info.references = {"PyTorch documentation, torch::nn::Module::register_parameter"};
  info.effects = {
      {"no-gradient"}, {"symmetric-weight"}, {"vanishing-gradient"}, {"no-better-than-constant"}, {"plateaued-loss"}};
  return make_rule<UnregisteredParameter>(std::move(info));
}

}  // namespace gradhealth::rules
