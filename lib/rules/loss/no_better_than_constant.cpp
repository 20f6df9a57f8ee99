#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/constant_loss.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_track.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "no-better-than-constant";

class NoBetterThanConstant final : public Judge {
 public:
  explicit NoBetterThanConstant(const RuleOptions& options)
      : below_(options.at("below")),
        above_(options.at("above")),
        falling_(options.at("falling")),
        updates_(options.at("updates")),
        spread_(options.at("spread")),
        alignment_(options.at("alignment")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    minimized_ = is_minimized(run.info);
    constant_.observe(record);
    const double loss = record.at(Quantity::kLoss);
    if (std::isnan(loss)) return;
    if (count_++ == 0) first_step_ = record.step;
    last_step_ = record.step;
    loss_.observe(record);
    take_signs(record);
    // Since when it has been there; a short visit on the way down is forgotten.
    at_constant_.add(std::abs(loss_.recent() / constant_.value() - 1) < 3 * above_, record.step);
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (count_ == 0) return NotEvaluated{"no loss was recorded"};
    if (!minimized_) return NotEvaluated{"the loss was declared not to be minimised by this model alone"};
    if (std::isnan(constant_.value()))
      return NotEvaluated{
          "what a constant answer would cost is not known: that needs one averaged loss operator and targets that "
          "differ"};
    if (severity()) return unhealthy({finding()});
    if (!long_enough())
      return NotEvaluated{fmt::format("needs {:.0f} updates and {:.0f} recorded steps, has {} and {}", updates_,
                                      min_steps_, last_step_ - first_step_, count_)};
    return Healthy{};
  }

 private:
  void take_signs(const StepRecord& record) {
    const double mean = record.at(Quantity::kPredictionMean);
    const double deviation = record.at(Quantity::kPredictionStd);
    relative_spread_.push(record.at(Quantity::kPredictionSpread) / std::sqrt(mean * mean + deviation * deviation));
    alignments_.push(record.at(Quantity::kGradientAlignment));
    gradient_ = global_gradient_norm(record);
  }

  bool long_enough() const {
    return static_cast<double>(last_step_ - first_step_) >= updates_ && static_cast<double>(count_) >= min_steps_;
  }

  double level() const { return loss_.level(0.75, 1); }

  /// The model demonstrably answers the same to every sample, or nothing is left that could change it.
  bool is_constant() const {
    return (relative_spread_.full() && relative_spread_.median() < spread_) || gradient_ == 0;
  }
  /// Successive gradients agree on where to go, and the loss has not moved at all.
  bool could_learn() const {
    return alignments_.full() && alignments_.median() > alignment_ && loss_.makes_no_progress();
  }

  std::optional<Severity> severity() const {
    const double constant = constant_.value();
    if (!minimized_ || std::isnan(constant) || !long_enough()) return std::nullopt;
    if (!(level() > (1 - below_) * constant)) return std::nullopt;
    // Farther above the trainer may have scaled the loss, unless it is above its first value, too.
    if (!(level() < (1 + above_) * constant || level() > loss_.first())) return std::nullopt;
    if (!(loss_.recent() > (1 - 2 * below_) * constant)) return std::nullopt;
    if (loss_.level(0.5, 0.75) - level() > falling_ * constant) return std::nullopt;
    return is_constant() || could_learn() ? Severity::kError : Severity::kWarning;
  }

  Finding finding() const {
    const std::int64_t since = at_constant_.streak > 0 ? at_constant_.streak_since : first_step_;
    Finding finding = new_finding(kId, *severity(), is_constant() ? 0.95 : 0.7, {}, {since, last_step_}, {});
    finding.message = fmt::format(
        "After {} updates the loss is {}. A model that gave the same answer to every sample would have {}, {}.",
        last_step_ - first_step_ + 1, number(level()), number(constant_.value()), constant_.words());
    finding.evidence.push_back(
        evidence("loss, against that of a constant", level(), ">", (1 - below_) * constant_.value(), Quantity::kLoss));
    if (relative_spread_.full() && relative_spread_.median() < spread_) {
      finding.message += " Its outputs are in fact the same for all samples.";
      finding.evidence.push_back(evidence("spread of the predictions over the samples, relative to their size",
                                          relative_spread_.median(), "<", spread_, Quantity::kPredictionSpread));
    } else if (gradient_ == 0) {
      finding.message += " No gradient is left.";
      finding.evidence.push_back(evidence("global gradient norm", 0, "=", 0, Quantity::kGlobalGradientNorm));
    } else if (could_learn()) {
      finding.message += " Successive gradients agree on a direction, and the loss does not move.";
      finding.evidence.push_back(evidence("cosine between successive gradients", alignments_.median(), ">", alignment_,
                                          Quantity::kGradientAlignment));
    }
    finding.recommendations.push_back(overfit_one_batch());
    return finding;
  }

  static Recommendation overfit_one_batch() {
    Recommendation advice;
    advice.id = "overfit-one-batch";
    advice.text = "Train on one batch only: if that loss does not fall either, the fault is in the model or the loop.";
    advice.why =
        "A sound model learns a single batch by heart within some hundred steps; if it does, inputs and targets do not "
        "belong together or hold nothing to learn.";
    advice.code =
        "auto fixed = *loader->begin();\n"
        "for (int i = 0; i < 300; ++i) {\n"
        "  optimizer.zero_grad();\n"
        "  loss = torch::nn::functional::cross_entropy(net->forward(fixed.data), fixed.target);  // or the run's own "
        "loss\n"
        "  loss.backward();\n"
        "  optimizer.step();\n"
        "}";
    advice.confidence = 0.5;
    return advice;
  }

  double below_;
  double above_;
  double falling_;
  double updates_;
  double spread_;
  double alignment_;
  double min_steps_;
  ConstantLoss constant_;
  LossTrack loss_;
  stats::Window relative_spread_{12};
  stats::Window alignments_{24};
  Alarm alarm_;
  Tally at_constant_;
  bool minimized_ = true;
  double gradient_ = NAN;
  std::size_t count_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule no_better_than_constant() {
  RuleInfo info;
  info.id = kId;
  info.title = "Model is no better than a constant";
  info.meaning =
      "The loss is what a model would have that ignores its input, or above that: the entropy of the class "
      "frequencies, the variance "
      "of "
      "the targets, or the entropy of the base rate. Nothing of the relation between input and target was learnt.";
  info.method =
      "After 200 updates, the loss's level over the last quarter of the run is within 2 % below and 5 % above that of "
      "the best constant, computed from the loss operator's own targets, or above both it and the first loss, and does "
      "not fall. A warning; an error if the "
      "outputs are the same for all samples, no gradient is left, or successive gradients agree while the loss has "
      "never moved.";
  info.limits =
      "Data with next to nothing to predict end here in health, with a warning. Losses of several terms, sums, and "
      "adversarial or reinforcement losses are not judged.";
  info.options = {
      {"below", 0.02, "Distance below the constant's loss that is no gain, relative.", "Practitioner review."},
      {"above", 0.05, "Distance above it within which it is the same, relative.",
       "An output bias that is not quite fitted."},
      {"falling", 0.005, "Fall from the third to the last quarter, relative to the constant's loss, that is progress.",
       "A plateau that is being left."},
      {"updates", 200, "Updates after which it counts.", "Practitioner review."},
      {"spread", 1e-3, "Spread of the predictions over the samples, relative to their size, that is none.",
       "Three orders of magnitude."},
      {"alignment", 0.2, "Median cosine between successive gradients from which they agree.",
       "At a minimum they are random: near 0."},
      min_steps_option(30),
  };
  info.references = {"Karpathy, A recipe for training neural networks, 2019"};
  return make_rule<NoBetterThanConstant>(std::move(info));
}

}  // namespace gradhealth::rules
