#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/layers.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/persistence.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"
#include "stats/robust.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "oscillating-loss";
constexpr std::size_t kWindow = 48;  ///< Latest losses whose swings are looked at.
constexpr std::size_t kLayers = 32;  ///< Enough of them for a median, spread over the depth.
constexpr std::size_t kPairs = 40;   ///< Of successive changes of the loss.
constexpr double kFalling = 0.25;    ///< Of the range, from quarter to quarter: more than noise does.

class OscillatingLoss final : public Judge {
 public:
  explicit OscillatingLoss(const RuleOptions& options)
      : swing_(options.at("swing")),
        alternation_(options.at("alternation")),
        alignment_(options.at("alignment")),
        update_(options.at("update-ratio")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    layers_.update(run);
    minimized_ = is_minimized(run.info);
    harm_.observe(run, record);
    if (const double rate = record.at(Quantity::kLearningRate); std::isfinite(rate)) rate_ = rate;
    const double loss = record.at(Quantity::kLoss);
    if (!std::isfinite(loss)) return;
    if (count_++ == 0) first_step_ = record.step;
    // An even number of steps apart, an oscillation of period two shows always the same side.
    const bool opposite = count_ > 1 && (record.step - last_step_) % 2 == 1;
    if (opposite) {
      const double change = loss - last_loss_;
      if (change * last_change_ != 0) turns_.observe(change * last_change_ < 0, record.step);
      last_change_ = change;
      alignments_.push(record.at(Quantity::kGradientAlignment));
    } else {
      last_change_ = 0;
    }
    last_step_ = record.step;
    last_loss_ = loss;
    losses_.push(loss);
    latest_.push(loss);
    observe_updates(record);
    const auto now = severity();
    if (!now) since_.reset();
    if (now && !since_) since_ = record.step;
    alarm_.set(alarm_level(now));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (count_ == 0) return NotEvaluated{"no loss was recorded"};
    if (!minimized_) return NotEvaluated{"the loss was declared not to be minimised by this model alone"};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(count_) < min_steps_) return too_few_steps(count_, min_steps_);
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

  /// Where most of the latest losses lie.
  double range() const { return losses_.quantile(0.9) - losses_.quantile(0.1); }
  /// Of the later half of them: a loss that has fallen within the window does not swing.
  double latest_range() const { return latest_.quantile(0.9) - latest_.quantile(0.1); }
  /// What the run has learnt, or, while that is nothing, where it began.
  double unit() const {
    const double start = harm_.loss().start();
    return std::max(start - losses_.median(), 0.3 * std::abs(start));
  }

  /// What shows that steps overshoot; batches that differ swing the loss too.
  enum class Witness { kNone, kTurns, kAlignment, kUpdates };
  Witness witness() const {
    if (turns_.count() >= kPairs && turn_share() >= alternation_) return Witness::kTurns;
    if (alignments_.full() && alignments_.median() < alignment_) return Witness::kAlignment;
    if (ratios_.full() && ratios_.median() > update_) return Witness::kUpdates;
    return Witness::kNone;
  }

  double turn_share() const { return turns_.share(); }

  std::optional<Severity> severity() const {
    if (!minimized_ || static_cast<double>(count_) < min_steps_ || !losses_.full()) return std::nullopt;
    const LossTrack& loss = harm_.loss();
    if (!(range() > swing_ * unit()) || !(latest_range() > swing_ * unit())) return std::nullopt;
    // At the edge of stability the loss goes up and down and falls.
    if (loss.level(0.5, 0.75) - loss.level(0.75, 1) > kFalling * range()) return std::nullopt;
    if (witness() == Witness::kNone) return std::nullopt;
    return harm_.stands_still() ? Severity::kError : Severity::kWarning;
  }

  Finding finding() const {
    // The window has been filling up for as long.
    Finding finding = new_finding(kId, *severity(), 0.7, {}, {since_.value_or(first_step_), last_step_}, {});
    finding.message =
        fmt::format("The loss swings between {} and {} and makes no progress (start {}).",
                    number(losses_.quantile(0.1)), number(losses_.quantile(0.9)), number(harm_.loss().start()));
    finding.evidence.push_back(evidence("range of the latest losses, from the 10th to the 90th percentile", range(),
                                        ">", swing_ * unit(), Quantity::kLoss));
    switch (witness()) {
      case Witness::kTurns:
        finding.message += fmt::format(" It turns at {} % of the steps.", number(100 * turn_share()));
        finding.evidence.push_back(
            evidence("share of the steps at which the loss turns", turn_share(), "≥", alternation_, Quantity::kLoss));
        break;
      case Witness::kAlignment:
        finding.message +=
            fmt::format(" Successive gradients point against each other (cosine {}).", number(alignments_.median()));
        finding.evidence.push_back(evidence("median cosine between successive gradients", alignments_.median(), "<",
                                            alignment_, Quantity::kGradientAlignment));
        break;
      default:
        finding.message +=
            fmt::format(" An update changes the median weight by {} of its size.", number(ratios_.median()));
        finding.evidence.push_back(
            evidence("median update over weight", ratios_.median(), ">", update_, Quantity::kUpdateRatio));
    }
    finding.recommendations.push_back(lower_learning_rate(rate_, 10, 0.6));
    return finding;
  }

  double swing_;
  double alternation_;
  double alignment_;
  double update_;
  double min_steps_;
  LossHarm harm_;
  Layers layers_;
  stats::Window losses_{kWindow};
  stats::Window latest_{kWindow / 2};
  Persistence turns_{kPairs, 1};
  stats::Window alignments_{16};
  stats::Window ratios_{24};
  std::vector<double> ratios_now_;
  Alarm alarm_;
  std::optional<double> rate_;
  std::optional<std::int64_t> since_;
  bool minimized_ = true;
  std::size_t count_ = 0;
  double last_loss_ = NAN;
  double last_change_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule oscillating_loss() {
  RuleInfo info;
  info.id = kId;
  info.title = "Loss swings without progress";
  info.meaning =
      "The loss jumps up and down by as much as was ever learnt, and does not fall. Each step goes across the valley "
      "instead of along it.";
  info.method =
      "Most of the latest 48 losses spread over more than half of what the run has learnt, the last quarter is no "
      "lower "
      "than the one before, and something shows that steps overshoot: the loss turns at nearly every step, successive "
      "gradients point against each other, or an update changes weights by more than a twentieth. An error when the "
      "loss "
      "never left its start. Steps an even number apart say nothing about turns.";
  info.limits =
      "Batches that differ swing the loss without any fault, and without these witnesses. Progress at the edge of "
      "stability, adversarial and reinforcement losses are not judged.";
  info.options = {
      {"swing", 0.5, "Range of the latest losses over what was learnt.", "Half of it is lost again and again."},
      {"alternation", 0.9, "Share of 40 pairs of successive changes of the loss with opposite signs.",
       "Random noise turns at 67 %, with a deviation of 7 %."},
      {"alignment", -0.2, "Median cosine between successive gradients.",
       "Noise gives 0; overshooting goes towards -1."},
      {"update-ratio", 0.05, "Median update over weight.", "Fifty times what healthy training shows."},
      min_steps_option(48),
  };
  info.references = {
      "Zhang et al., AUTOTRAINER, ICSE 2021",
      "Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability, 2021"};
  info.effects = {{"diverging-loss"}, {"no-better-than-constant"}, {"dead-units"}};
  return make_rule<OscillatingLoss>(std::move(info));
}

}  // namespace gradhealth::rules
