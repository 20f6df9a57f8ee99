#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_operators.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "sum-reduced-loss";

class SumReducedLoss final : public Judge {
 public:
  explicit SumReducedLoss(const RuleOptions& options)
      : samples_(options.at("samples")), min_steps_(options.at("min-steps")) {}

  void observe(const Run&, const StepRecord& record) override {
    operators_.observe(record);
    if (const double batch = record.at(Quantity::kBatchSize); batch > 0) batch_ = batch;
    if (!operators_.known()) return;
    ++count_;
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
  const LossOperator* summed() const {
    for (const LossOperator& each : operators_.all())
      if (each.reduction == "sum") return &each;
    return nullptr;
  }

  std::optional<Severity> severity() const {
    return summed() != nullptr && batch_ >= samples_ ? std::optional(Severity::kInfo) : std::nullopt;
  }

  Finding finding() const {
    const LossOperator& loss = *summed();
    Finding finding = new_finding(kId, Severity::kInfo, 0.95, {{}, {}, loss.subject}, {loss.step, last_step_}, {});
    finding.message = fmt::format(
        "{} adds its terms up instead of averaging them: loss and gradients are at least {} times as large, and grow "
        "with the batch.",
        loss.name, number(batch_));
    finding.evidence.push_back(evidence("samples that are added up", batch_, "≥", samples_, Quantity::kBatchSize));
    Recommendation advice;
    advice.id = "mean-reduction";
    advice.text = fmt::format("Divide the loss by the number of samples ({}), or lower the learning rate as much.",
                              number(batch_));
    advice.why = "Learning rates, clipping thresholds and weight decay are known for losses that are means.";
    advice.code = "loss = loss / output.size(0);";
    advice.confidence = 0.6;
    advice.values = {{"samples", {batch_}}};
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double samples_;
  double min_steps_;
  LossOperators operators_;
  Alarm alarm_;
  double batch_ = NAN;
  std::size_t count_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule sum_reduced_loss() {
  RuleInfo info;
  info.id = kId;
  info.title = "Loss is a sum over the batch";
  info.meaning =
      "The loss adds the samples' losses up. Its gradients grow with the batch, so that a learning rate holds for one "
      "batch size only, and one meant for averaged losses is too large by that factor.";
  info.method = "The loss operator was called with the reduction sum on batches of several samples. Information only.";
  info.limits = "Usual and healthy for variational autoencoders. Sums written by hand are not seen.";
  info.options = {
      {"samples", 8, "Samples of a batch from which a sum matters.", "Close to an order of magnitude."},
      min_steps_option(10),
  };
  info.references = {"Goyal et al., Accurate, large minibatch SGD, 2017"};
  info.effects = {{"always-clipping"}, {"diverging-loss"}, {"exploding-gradient"}, {"no-better-than-constant"}};
  return make_rule<SumReducedLoss>(std::move(info));
}

}  // namespace gradhealth::rules
