#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "nonfinite-input";

class NonfiniteInput final : public Judge {
 public:
  explicit NonfiniteInput(const RuleOptions& options) : min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    const NonfiniteCount count = count_nonfinite(record, Quantity::kInputNonfinite);
    if (count.recorded) ++steps_;
    const Event* event = nullptr;
    for (const Event& each : record.events)
      if (each.kind == "nonfinite-input") event = &each;
    // A bad sample between two recorded steps shows in the loss first, and in the input when its turn comes again.
    const bool bad_loss = record.at(Quantity::kLossNonfinite) > 0;
    if (bad_loss && !bad_loss_since_) bad_loss_since_ = record.step;
    if (count.subjects == 0 && event == nullptr) return;
    if (bad_steps_++ == 0) {
      seen_step_ = record.step;
      first_step_ = std::min(record.step, bad_loss_since_.value_or(record.step));
      features_ = count.subjects;
      if (count.subjects > 0 && count.first < run.of(Axis::kFeature).size())
        feature_ = run.of(Axis::kFeature)[count.first].name;
      else if (event != nullptr)
        feature_ = event->subject;
    }
    if (text_.empty() && event != nullptr) text_ = event->text;
    last_step_ = record.step;
    elements_ += count.elements;
  }

  std::size_t alarms() const override { return bad_steps_ > 0 ? 1 : 0; }

  Outcome outcome() const override {
    if (bad_steps_ == 0) {
      if (steps_ == 0) return NotEvaluated{"no statistics of the input were recorded"};
      if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
      return Healthy{};
    }
    Finding finding;
    finding.rule = kId;
    finding.severity = Severity::kError;
    finding.subject.name = feature_;
    finding.first_step = first_step_;
    finding.last_step = last_step_;
    finding.message = fmt::format(
        "The input holds NaN or infinite values: first at step {}{}{}; {:.0f} values in {} "
        "recorded step{}.",
        seen_step_, feature_.empty() ? "" : " in " + feature_,
        features_ > 1 ? fmt::format(" and {} more features", features_ - 1) : "", elements_, bad_steps_,
        bad_steps_ == 1 ? "" : "s");
    if (!text_.empty()) finding.message += " " + text_;
    if (first_step_ < seen_step_)
      finding.message +=
          fmt::format(" The loss is not finite since step {}, whose input was not recorded, as it is of such a sample.",
                      first_step_);
    finding.evidence.push_back(
        evidence("non-finite input values", elements_, ">", 0, Quantity::kInputNonfinite, feature_));
    finding.recommendations = advice();
    return unhealthy({std::move(finding)});
  }

 private:
  static std::vector<Recommendation> advice() {
    Recommendation drop;
    drop.id = "drop-nonfinite-samples";
    drop.text = "Drop the samples that are not finite before they enter the model, and repair them in the data set.";
    drop.why = "One NaN in one sample makes the loss and, a step later, every weight NaN.";
    drop.code =
        "const auto finite = torch::isfinite(x).reshape({x.size(0), -1}).all(1);\n"
        "x = x.index({finite});\n"
        "target = target.index({finite});";
    drop.confidence = 0.9;
    Recommendation guard;
    guard.id = "check-input";
    guard.text = "Stop in the data loader when a batch is not finite.";
    guard.why = "Names the batch while the file it came from is still known.";
    guard.code = "TORCH_CHECK(torch::isfinite(x).all().item<bool>(), \"batch with NaN or infinity\");";
    guard.confidence = 0.7;
    return {drop, guard};
  }

  double min_steps_;
  std::size_t steps_ = 0;
  std::size_t bad_steps_ = 0;
  std::size_t features_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t seen_step_ = 0;
  std::optional<std::int64_t> bad_loss_since_;
  std::int64_t last_step_ = 0;
  double elements_ = 0;
  std::string feature_;
  std::string text_;
};

}  // namespace

Rule nonfinite_input() {
  RuleInfo info;
  info.id = kId;
  info.title = "Input is not finite";
  info.meaning =
      "The data that enters the model holds NaN or infinity. The first such batch makes the loss NaN, its gradients "
      "NaN and, with the next update, every weight.";
  info.method =
      "Counts the non-finite values of what enters the first parametric operator, per feature. Any is an error.";
  info.limits =
      "Sees the model's first input only, at recorded steps. Data that marks missing values with NaN and replaces them "
      "inside the model before the first layer is not seen either.";
  info.options = {min_steps_option(10)};
  info.references = {"IEEE 754-2019, section 6.2: operations propagate NaN."};
  info.effects = {{"nonfinite-activation"}, {"nonfinite-gradient"}, {"nonfinite-weight"},
                  {"nonfinite-loss"},       {"diverging-loss"},     {"no-better-than-constant"}};
  return make_rule<NonfiniteInput>(std::move(info));
}

}  // namespace gradhealth::rules
