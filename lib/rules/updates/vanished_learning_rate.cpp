#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_track.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "vanished-learning-rate";

class VanishedLearningRate final : public Judge {
 public:
  explicit VanishedLearningRate(const RuleOptions& options)
      : ratio_(options.at("ratio")),
        share_(options.at("share")),
        updates_(options.at("updates")),
        solved_(options.at("solved")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run&, const StepRecord& record) override {
    loss_.observe(record);
    const double rate = record.at(Quantity::kLearningRate);
    if (!std::isfinite(rate)) return;
    if (count_++ == 0) first_step_ = record.step;
    last_step_ = record.step;
    rate_ = rate;
    if (rate >= highest_) {
      highest_ = rate;
      highest_step_ = record.step;
    }
    // A rate of exactly 0 is meant, or step-without-effect's business.
    const bool gone = rate > 0 && rate < ratio_ * highest_;
    if (gone && !since_) {
      since_ = record.step;
      loss_then_ = loss_.recent();
    }
    if (!gone) since_.reset();
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (severity()) return unhealthy({finding()});
    if (count_ == 0) return NotEvaluated{"no learning rate was recorded: give the monitor the optimizer"};
    if (static_cast<double>(count_) < min_steps_) return too_few_steps(count_, min_steps_);
    return Healthy{};
  }

 private:
  double gone_share() const {
    const double all = static_cast<double>(last_step_ - first_step_);
    return since_ && all > 0 ? static_cast<double>(last_step_ - *since_) / all : 0;
  }

  std::optional<Severity> severity() const {
    if (!since_ || static_cast<double>(count_) < min_steps_) return std::nullopt;
    if (static_cast<double>(last_step_ - *since_) < updates_ || gone_share() < share_) return std::nullopt;
    return loss_.fell_by(1 - solved_) ? Severity::kInfo : Severity::kWarning;
  }

  Finding finding() const {
    // It began where the rate began to fall: a loss that stands still since then does so for it.
    Finding finding = new_finding(
        kId, *severity(), 0.8, {}, {highest_step_, last_step_},
        fmt::format(
            "The learning rate has fallen from {} (step {}) to {}. Since step {}, for {} % of the run, it has been "
            "below {} times its highest, and nothing is learnt any more: the loss was {} then and is {} now.",
            number(highest_), highest_step_, number(rate_), *since_, number(100 * gone_share()), number(ratio_),
            number(loss_then_), number(loss_.recent())));
    finding.evidence.push_back(evidence("learning rate", rate_, "<", ratio_ * highest_, Quantity::kLearningRate));
    finding.evidence.push_back(
        evidence("share of the run at such a rate", gone_share(), "≥", share_, Quantity::kLearningRate));
    Recommendation advice;
    advice.id = "slow-schedule";
    advice.text =
        "Step the scheduler once per epoch, if its numbers are epochs; otherwise end the schedule where the training "
        "ends.";
    advice.why =
        "Schedulers count calls of step(). Called for every batch, a decay that was meant for 30 epochs is over after "
        "30 "
        "batches.";
    advice.code =
        "torch::optim::StepLR scheduler(optimizer, 30, 0.1);\n"
        "for (int epoch = 0; epoch < 90; ++epoch) {\n"
        "  for (auto& batch : *loader) {\n"
        "    // forward, backward, optimizer.step()\n"
        "  }\n"
        "  scheduler.step();  // here, not in the inner loop\n"
        "}";
    advice.confidence = 0.7;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double ratio_;
  double share_;
  double updates_;
  double solved_;
  double min_steps_;
  LossTrack loss_;
  Alarm alarm_;
  std::size_t count_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
  double rate_ = NAN;
  double highest_ = 0;
  std::int64_t highest_step_ = 0;
  std::optional<std::int64_t> since_;
  double loss_then_ = NAN;
};

}  // namespace

Rule vanished_learning_rate() {
  RuleInfo info;
  info.id = kId;
  info.title = "Learning rate has vanished";
  info.meaning =
      "A schedule has brought the learning rate to next to nothing long before the training ends, most often because "
      "it is "
      "stepped for every batch instead of every epoch. The loss stops falling and looks converged.";
  info.method =
      "Learning rate of each recorded step over the highest one so far. A warning once it has been below a "
      "ten-thousandth "
      "for half of the run's steps, at least 100; information where the loss has come down to a hundredth of its "
      "start.";
  info.limits =
      "Needs the optimizer. A schedule that ends near 0 where the training ends, and one that restarts, are not told.";
  info.options = {
      {"ratio", 1e-4, "Learning rate over the highest one.",
       "Step and cosine schedules end a hundred to a thousand times below their highest rate."},
      {"share", 0.5, "Share of the run's steps at such a rate.",
       "A cosine is below 0.0001 for the last 0.6 % of its steps."},
      {"updates", 100, "Steps at such a rate.", "A tail is no fault."},
      {"solved", 0.01, "Loss over its start, below which it is information.", "Two orders of magnitude."},
      min_steps_option(20),
  };
  info.references = {"Loshchilov, Hutter, SGDR, ICLR 2017", "Goyal et al., Accurate, large minibatch SGD, 2017"};
  info.effects = {{"update-too-small"},        {"step-without-effect"}, {"plateaued-loss"},
                  {"no-better-than-constant"}, {"overfitting"},         {"update-lost-to-rounding"}};
  return make_rule<VanishedLearningRate>(std::move(info));
}

}  // namespace gradhealth::rules
