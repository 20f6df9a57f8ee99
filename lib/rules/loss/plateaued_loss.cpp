#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/layers.h"
#include "rules/support/loss_harm.h"
#include "rules/support/loss_operators.h"
#include "rules/support/new_finding.h"
#include "rules/support/optimizer_advice.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"
#include "stats/robust.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "plateaued-loss";
constexpr std::size_t kLayers = 32;  ///< Enough of them for a median, spread over the depth.

class PlateauedLoss final : public Judge {
 public:
  explicit PlateauedLoss(const RuleOptions& options)
      : alignment_(options.at("alignment")),
        noise_(options.at("noise")),
        update_(options.at("update-ratio")),
        updates_(options.at("updates")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    layers_.update(run);
    harm_.observe(run, record);
    operators_.observe(record);
    targets_vary_ = targets_vary_ || record.at(Quantity::kTargetMax) > record.at(Quantity::kTargetMin);
    const double loss = record.at(Quantity::kLoss);
    if (std::isnan(loss)) return;
    const double rate = record.at(Quantity::kLearningRate);
    if (std::isfinite(rate)) {
      // Nothing is expected while the rate is still rising.
      if (rate_ && rate > *rate_) began_ = record.step;
      rate_ = rate;
    }
    if (count_++ == 0) began_ = first_step_ = record.step;
    last_step_ = record.step;
    losses_.push(loss);
    if (const double aligned = record.at(Quantity::kGradientAlignment); std::isfinite(aligned)) {
      alignments_.push(aligned);
      ++aligned_;
    }
    observe_updates(record);
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (count_ == 0) return NotEvaluated{"no loss was recorded"};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(aligned_) < min_steps_ || static_cast<double>(count_) < min_steps_)
      return NotEvaluated{fmt::format(
          "needs {:.0f} recorded steps with a loss and the agreement of successive gradients, has {} and {}",
          min_steps_, count_, aligned_)};
    return Healthy{};
  }

 private:
  void observe_updates(const StepRecord& record) {
    ratios_now_.clear();
    const std::vector<Layer>& layers = layers_.all();
    for (std::size_t i = 0; i < layers.size(); i += 1 + layers.size() / kLayers) {
      const double ratio = record.at(Quantity::kUpdateRatio, layers[i].parameter);
      if (std::isfinite(ratio)) ratios_now_.push_back(ratio);
    }
    if (!ratios_now_.empty()) ratios_.push(stats::median_in_place(ratios_now_.data(), ratios_now_.size()));
  }

  std::optional<Severity> severity() const {
    if (static_cast<double>(count_) < min_steps_ || static_cast<double>(aligned_) < min_steps_) return std::nullopt;
    if (static_cast<double>(last_step_ - began_) < updates_ || !alignments_.full()) return std::nullopt;
    if (!(alignments_.median() > alignment_)) return std::nullopt;
    // Swings as large as the loss hide what it does: adversaries, agents, losses around zero.
    if (!(losses_.sigma() < noise_ * std::abs(losses_.median()))) return std::nullopt;
    if (!harm_.stands_still() || harm_.rose()) return std::nullopt;
    // Players of a game stay where they began by beating each other; nobody plays against labels.
    return operators_.only() != nullptr && targets_vary_ ? Severity::kWarning : Severity::kInfo;
  }

  Finding finding() const {
    const LossTrack& loss = harm_.loss();
    Finding finding = new_finding(kId, *severity(), 0.7, {}, {first_step_, last_step_}, {});
    finding.message = fmt::format(
        "The loss has stayed where it began, {} at the start and {} now, after {} updates; successive gradients point "
        "the same way all the time, so that there is somewhere to go.",
        number(loss.start()), number(loss.level(0.75, 1)), last_step_ - first_step_ + 1);
    finding.evidence.push_back(evidence("loss of the last quarter, from which a tenth of the start is missing",
                                        loss.level(0.75, 1), ">", loss.start() - 0.1 * std::abs(loss.start()),
                                        Quantity::kLoss));
    finding.evidence.push_back(evidence("median cosine between successive gradients", alignments_.median(), ">",
                                        alignment_, Quantity::kGradientAlignment));
    const bool timid = ratios_.size() > 0 && ratios_.median() < update_;
    if (timid) {
      finding.message +=
          fmt::format(" An update changes the median weight by {} of its size only.", number(ratios_.median()));
      const double factor = std::clamp(1e-3 / std::max(ratios_.median(), 1e-9), 3.0, 1e4);
      finding.recommendations.push_back(raise_learning_rate(rate_, factor, 0.7));
    } else {
      finding.recommendations.push_back(raise_learning_rate(rate_, 3, 0.3));
      finding.recommendations.push_back(lower_learning_rate(rate_, 10, 0.2));
    }
    return finding;
  }

  double alignment_;
  double noise_;
  double update_;
  double updates_;
  double min_steps_;
  LossHarm harm_;
  LossOperators operators_;
  bool targets_vary_ = false;
  Layers layers_;
  stats::Window losses_{32};
  stats::Window alignments_{24};
  stats::Window ratios_{24};
  std::vector<double> ratios_now_;
  Alarm alarm_;
  std::optional<double> rate_;
  std::size_t count_ = 0;
  std::size_t aligned_ = 0;
  std::int64_t began_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule plateaued_loss() {
  RuleInfo info;
  info.id = kId;
  info.title = "Loss does not move";
  info.meaning =
      "The loss stays where it began although gradients keep saying in which direction it would fall. Steps are too "
      "short, or what is stepped along is not what the loss depends on.";
  info.method =
      "After 200 updates at a learning rate that does not rise any more, the loss is neither a tenth below its start "
      "nor "
      "lower in the last quarter of the run than in the one before, its noise is small against its level, and the "
      "median cosine between the gradients of successive recorded steps is above 0.2. At a minimum, at the noise floor "
      "of the data and after convergence, successive gradients are unrelated. Never more than a warning.";
  info.limits =
      "A loss that fell and then stands is not judged here: it may have arrived. Models without any gradient are other "
      "rules'. Needs the agreement of gradients. Information only where the loss has several operators, an unknown "
      "one, or "
      "targets that do not vary, as in a game of two models.";
  info.options = {
      {"alignment", 0.2, "Median cosine between successive gradients from which they agree.",
       "Gradients of independent batches at a minimum: near 0."},
      {"noise", 0.1, "Robust deviation of the latest losses, relative to their level, up to which it is judged.",
       "The tenth that counts as progress."},
      {"update-ratio", 1e-4, "Median update over weight below which steps are short.",
       "A tenth of what healthy training shows."},
      {"updates", 200, "Updates since the learning rate last rose.", "Practitioner review."},
      min_steps_option(40),
  };
  info.references = {"Rasley et al., SageMaker Debugger, MLSys 2021",
                     "McCandlish et al., An empirical model of large-batch "
                     "training, 2018"};
  info.effects = {{"no-better-than-constant"}};
  return make_rule<PlateauedLoss>(std::move(info));
}

}  // namespace gradhealth::rules
