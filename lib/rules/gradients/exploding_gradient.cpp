#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/layers.h"
#include "rules/support/loss_track.h"
#include "rules/support/nonfinite_origin.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "stats/quantile.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "exploding-gradient";
constexpr double kUsualUpdate = 0.01;  ///< Update ratio that clip and learning-rate guesses aim at.
constexpr std::size_t kHistory = 5;    ///< Healthy steps that make a history.

class ExplodingGradient final : public Judge {
 public:
  explicit ExplodingGradient(const RuleOptions& options)
      : factor_(options.at("factor")),
        update_ratio_(options.at("update-ratio")),
        near_(options.at("consequence-steps")),
        min_steps_(options.at("min-steps")),
        loss_(options.at("loss-rise")) {}

  void observe(const Run& run, const StepRecord& record) override {
    layers_.update(run);
    loss_.observe(record);
    unguarded_ = unguarded_ || made_by_unguarded_operator(record);
    if (const double rate = record.at(Quantity::kLearningRate); std::isfinite(rate)) rate_ = rate;
    const double norm = global_gradient_norm(record);
    const bool bad = count_nonfinite(record, Quantity::kGradientNonfinite).subjects > 0 ||
                     count_nonfinite(record, Quantity::kWeightNonfinite).subjects > 0;
    if (std::isnan(norm) && !bad) return;
    ++steps_;
    ++since_last_;
    bool explodes = false;
    if (std::isfinite(norm)) explodes = judge_norm(run, record, norm);
    if (first_ && !verdict_) look_for_consequence(record, bad);
    if (first_ && !verdict_ && !explodes && since_last_ > static_cast<std::size_t>(near_)) first_.reset();
  }

  std::size_t alarms() const override { return verdict_ ? 1 : 0; }

  Outcome outcome() const override {
    if (verdict_ && !loss_.recovered()) return unhealthy({finding()});
    if (steps_ == 0) return NotEvaluated{"no gradient norms were recorded"};
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    return Healthy{};
  }

 private:
  struct Largest {
    double update = 0;
    const Layer* by_update = nullptr;
    double gradient = 0;
    const Layer* by_gradient = nullptr;
  };
  Largest largest(const StepRecord& record) const {
    Largest largest;
    if (record.values(Quantity::kWeightNorm).empty()) return largest;  // Nothing to compare with.
    for (const Layer& layer : layers_.all()) {
      const double update = record.at(Quantity::kUpdateRatio, layer.parameter);
      if (std::isfinite(update) && record.at(Quantity::kWeightNorm, layer.parameter) > 0 && update > largest.update) {
        largest.update = update;
        largest.by_update = &layer;
      }
      if (const double gradient = relative_gradient(record, layer); gradient > largest.gradient) {
        largest.gradient = gradient;
        largest.by_gradient = &layer;
      }
    }
    return largest;
  }

  bool judge_norm(const Run& run, const StepRecord& record, double norm) {
    const Largest top = largest(record);
    const double median = healthy_.size() >= 1 ? healthy_.median() : NAN;
    // With hardly any history the first steps' own noise must not count.
    const double limit = factor_ * (healthy_.size() < kHistory ? 3 : 1) * median;
    const bool by_norm = norm > limit && median > 0;
    const bool by_update = top.update > update_ratio_;
    if (!by_norm && !by_update) {
      if (!first_) {
        healthy_.push(norm);
        p95_.push(norm);
      }
      return false;
    }
    since_last_ = 0;
    last_step_ = record.step;
    if (!first_) {
      first_ = record.step;
      count_ = 0;
      worst_ = 0;
      worst_update_ = 0;
      risen_before_ = loss_.risen_steps();
      median_then_ = healthy_.size() >= kHistory ? median : NAN;
      const Layer* where = by_update ? top.by_update : top.by_gradient;
      subject_ = where != nullptr ? run.of(Axis::kParameter)[where->parameter] : Subject{};
      relative_ = where != nullptr ? relative_gradient(record, *where) : NAN;
    }
    ++count_;
    worst_ = std::max(worst_, norm);
    worst_update_ = std::max(worst_update_, top.update);
    return true;
  }

  void look_for_consequence(const StepRecord& record, bool bad) {
    const std::size_t risen = loss_.risen_steps() - risen_before_;
    const bool loss_bad = loss_.nonfinite_step() && *loss_.nonfinite_step() >= *first_;
    // One wild batch has a large gradient and a high loss and is over; two steps in a row are not that.
    if ((bad || loss_bad) && input_finite(record) && !unguarded_)
      consequence_ = "something became non-finite";
    else if (risen >= 2 && count_ >= 2)
      consequence_ = "the loss rose";
    else if (risen >= 1 && worst_update_ > update_ratio_)
      consequence_ = "weights were overwritten and the loss rose";
    else
      return;
    consequence_step_ = record.step;
    verdict_ = true;
  }

  static bool input_finite(const StepRecord& record) {
    return count_nonfinite(record, Quantity::kInputNonfinite).subjects == 0;
  }

  Finding finding() const {
    Finding finding;
    finding.rule = kId;
    finding.severity = Severity::kError;
    finding.confidence = std::isnan(median_then_) ? 0.7 : 0.9;
    finding.subject = ref(subject_);
    finding.first_step = *first_;
    finding.last_step = last_step_;
    const bool by_update = worst_update_ > update_ratio_;
    finding.message = fmt::format(
        "From step {} the global gradient norm reaches {}{}", *first_, number(worst_),
        std::isnan(median_then_)
            ? std::string()
            : fmt::format(", {} times its healthy median of {}", number(worst_ / median_then_), number(median_then_)));
    if (by_update)
      finding.message += fmt::format("; one update changed a weight by {} times its own norm", number(worst_update_));
    if (std::isfinite(relative_))
      finding.message +=
          fmt::format("; it is largest, relative to the weights, in {} ({})", subject_.name, number(relative_));
    finding.message += fmt::format(". By step {} {}.", consequence_step_, consequence_);
    if (!std::isnan(median_then_))
      finding.evidence.push_back(
          evidence("global gradient norm", worst_, ">", factor_ * median_then_, Quantity::kGlobalGradientNorm));
    if (by_update || finding.evidence.empty())
      finding.evidence.push_back(evidence("largest update ratio of a weight", worst_update_, by_update ? ">" : "≤",
                                          update_ratio_, Quantity::kUpdateRatio, subject_.name));
    if (std::isnan(median_then_))
      finding.evidence.push_back(evidence("global gradient norm", worst_, "≥", worst_, Quantity::kGlobalGradientNorm));
    const bool known = p95_.count() >= 2 * kHistory;
    const double shrink = worst_update_ > kUsualUpdate ? std::clamp(worst_update_ / kUsualUpdate, 3.0, 1000.0) : 10;
    const double guess = std::isfinite(worst_) && worst_ > 0 ? std::max(worst_ / std::max(shrink, 10.0), 1e-3) : 1;
    finding.recommendations.push_back(
        clip_gradients(known ? std::optional<double>(p95_.value()) : std::nullopt, std::min(guess, 1.0)));
    finding.recommendations.push_back(lower_learning_rate(rate_, shrink, 0.4));
    std::stable_sort(finding.recommendations.begin(), finding.recommendations.end(),
                     [](const Recommendation& a, const Recommendation& b) { return a.confidence > b.confidence; });
    return finding;
  }

  double factor_;
  double update_ratio_;
  double near_;
  double min_steps_;
  LossTrack loss_;
  Layers layers_;
  stats::Window healthy_{64};
  stats::Quantile p95_{0.95};
  std::size_t steps_ = 0;
  std::size_t since_last_ = 0;
  std::size_t count_ = 0;
  std::size_t risen_before_ = 0;
  double worst_ = 0;
  double worst_update_ = 0;
  double median_then_ = NAN;
  double relative_ = NAN;
  std::int64_t last_step_ = 0;
  std::int64_t consequence_step_ = 0;
  const char* consequence_ = "";
  Subject subject_;
  std::optional<double> rate_;
  std::optional<std::int64_t> first_;
  bool verdict_ = false;
  bool unguarded_ = false;  ///< An operator such as log made the first non-finite value, not the size of the steps.
};

}  // namespace

Rule exploding_gradient() {
  RuleInfo info;
  info.id = kId;
  info.title = "Gradient explodes";
  info.meaning =
      "Gradients are so large that an update overwrites what the weights held. The next gradient is computed from "
      "ruined weights and is larger still, until values overflow or ReLUs die.";
  info.method =
      "A step explodes when the global gradient norm is far above the median of this run's own healthy steps, or when "
      "an update changes a weight by more than its norm. It is an error only with a consequence nearby: the loss rises "
      "to a multiple of its start for more than one batch, or something becomes non-finite.";
  info.limits =
      "Large norms as such, and early layers with larger gradients than late ones, are normal (sum-reduced losses, "
      "convolutions). A spike that comes and goes without harm is not reported. Without five healthy steps before, "
      "clip and learning rate are guesses and say so.";
  info.options = {
      {"factor", 10,
       "Global gradient norm over its healthy median; three times as much while there are fewer than five healthy "
       "steps.",
       "Practitioner review: 10 times the run's own history."},
      {"update-ratio", 1, "Norm of one update over the weight's norm.",
       "More overwrites the weight; usual is 0.001 to 0.01."},
      {"loss-rise", 3, "Multiple of its start that the loss must reach to count as a consequence.",
       "Practitioner review."},
      {"consequence-steps", 10, "Recorded steps after an explosion within which a consequence belongs to it.",
       "Explosions do harm at once."},
      min_steps_option(10),
  };
  info.references = {"Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, 2013",
                     "Philipp, Song, Carbonell, The exploding gradient problem demystified, arXiv 1712.05577"};
  info.effects = {{"diverging-loss"},       {"dead-units"},       {"nonfinite-gradient"}, {"nonfinite-weight"},
                  {"nonfinite-activation"}, {"nonfinite-loss"},   {"vanishing-gradient"}, {"zero-gradient"},
                  {"saturated-activation"}, {"growing-weight"},   {"update-too-large"},   {"nonfinite-optimizer-state"},
                  {"exploding-activation"}, {"collapsed-output"}, {"loss-spike"},         {"no-better-than-constant"},
                  {"oscillating-loss"}};
  return make_rule<ExplodingGradient>(std::move(info));
}

}  // namespace gradhealth::rules
