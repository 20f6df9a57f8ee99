#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "stats/quantile.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "nonfinite-weight";

class NonfiniteWeight final : public Judge {
 public:
  explicit NonfiniteWeight(const RuleOptions& options) : min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    const NonfiniteCount count = count_nonfinite(record, Quantity::kWeightNonfinite);
    if (!count.recorded) return;
    ++steps_;
    if (const double rate = record.at(Quantity::kLearningRate); std::isfinite(rate)) rate_ = rate;
    if (count.subjects == 0) {
      if (bad_steps_ == 0) {
        last_healthy_ = record.step;
        healthy_norm_.push(global_gradient_norm(record));
      }
      return;
    }
    last_step_ = record.step;
    if (bad_steps_++ > 0) return;
    first_step_ = record.step;
    parameters_ = count.subjects;
    elements_ = count.elements;
    subject_ = run.of(Axis::kParameter)[count.first];
  }

  std::size_t alarms() const override { return bad_steps_ > 0 ? 1 : 0; }

  Outcome outcome() const override {
    if (bad_steps_ == 0) {
      if (steps_ == 0) return NotEvaluated{"no weights were recorded"};
      if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
      return Healthy{};
    }
    Finding finding;
    finding.rule = kId;
    finding.severity = Severity::kError;
    finding.subject = ref(subject_);
    finding.first_step = first_step_;
    finding.last_step = last_step_;
    finding.message = fmt::format("{}{} holds NaN or infinity at step {}: {:.0f} elements in all. ", subject_.name,
                                  parameters_ > 1 ? fmt::format(" with {} more parameters", parameters_ - 1) : "",
                                  first_step_, elements_);
    finding.message += last_healthy_ ? fmt::format("The weights were last seen finite at step {}.", *last_healthy_)
                                     : "They were so at the first recorded step: the fault is in the initialisation or "
                                       "in what was loaded.";
    finding.evidence.push_back(
        evidence("non-finite weight elements", elements_, ">", 0, Quantity::kWeightNonfinite, subject_.name));
    finding.recommendations.push_back(restart());
    if (last_healthy_) {
      const bool known = healthy_norm_.count() >= 5;
      finding.recommendations.push_back(
          clip_gradients(known ? std::optional<double>(healthy_norm_.value()) : std::nullopt, 1.0));
      finding.recommendations.push_back(lower_learning_rate(rate_, 10, 0.4));
    }
    return unhealthy({std::move(finding)});
  }

 private:
  Recommendation restart() const {
    Recommendation advice;
    advice.id = "restart-from-healthy-weights";
    advice.why = "No later update repairs a weight that is not a number.";
    advice.confidence = 0.9;
    if (last_healthy_) {
      advice.text = fmt::format(
          "Go back to a checkpoint of step {} or before, apply the fix of the cause, and save "
          "finite weights only.",
          *last_healthy_);
      advice.values = {{"last_healthy_step", {static_cast<double>(*last_healthy_)}}};
    } else {
      advice.text = "Initialise the weights anew, and check what is loaded.";
    }
    advice.code =
        "for (const auto& p : net->named_parameters())\n"
        "  TORCH_CHECK(torch::isfinite(p.value()).all().item<bool>(), p.key(), \" is not finite\");\n"
        "torch::save(net, \"checkpoint.pt\");";
    return advice;
  }

  double min_steps_;
  std::size_t steps_ = 0;
  std::size_t bad_steps_ = 0;
  std::size_t parameters_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
  std::optional<std::int64_t> last_healthy_;
  std::optional<double> rate_;
  double elements_ = 0;
  stats::Quantile healthy_norm_{0.95};
  Subject subject_;
};

}  // namespace

Rule nonfinite_weight() {
  RuleInfo info;
  info.id = kId;
  info.title = "Weight is not finite";
  info.meaning = "A parameter holds NaN or infinity. The model is lost from that step on; nothing recovers it.";
  info.method =
      "Counts non-finite elements of every parameter before each update. Names the first such step and parameter, and "
      "the last recorded step whose weights were all finite.";
  info.limits = "Between two recorded steps the true onset is later than the last healthy one that is named.";
  info.options = {min_steps_option(10)};
  info.references = {"Zhang et al., AUTOTRAINER, ICSE 2021"};
  info.effects = {{"nonfinite-activation"},   {"nonfinite-loss"},   {"nonfinite-gradient"},
                  {"diverging-loss"},         {"nonfinite-buffer"}, {"nonfinite-optimizer-state"},
                  {"no-better-than-constant"}};
  info.essential = true;
  return make_rule<NonfiniteWeight>(std::move(info));
}

}  // namespace gradhealth::rules
