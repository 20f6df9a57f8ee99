#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/divergence_witness.h"
#include "rules/support/loss_operators.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "diverging-loss";
constexpr std::size_t kSettled = 8;  ///< Recorded steps after a peak before its aftermath is judged.
constexpr std::size_t kNoiseLosses = 5;
constexpr double kStill = 0.95;      ///< Aftermath: still at this share of the level on which it settled.
constexpr double kGuess = 1.05;      ///< Share of what guessing costs up to which a contrastive loss may rise.
constexpr double kCollapsed = 0.01;  ///< Aftermath: gradient norm over its healthy median.

class DivergingLoss final : public Judge {
 public:
  explicit DivergingLoss(const RuleOptions& options)
      : mads_(options.at("deviations")),
        persist_(options.at("steps")),
        warn_(options.at("warning-steps")),
        extreme_(options.at("extreme-rise")),
        witness_(options.at("witness-factor")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    if (steps_ == 0) run_ = run.info;
    operators_.observe(record);
    if (const double classes = record.at(Quantity::kTargetClasses); std::isfinite(classes)) classes_ = classes;
    if (const double rate = record.at(Quantity::kLearningRate); std::isfinite(rate)) rate_ = rate;
    const double loss = record.at(Quantity::kLoss);
    const bool nonfinite = record.at(Quantity::kLossNonfinite) > 0 || std::isinf(loss);
    if (std::isnan(loss) && !nonfinite) return;
    ++steps_;
    last_step_ = record.step;
    witness_.observe(record);
    if (nonfinite) {
      // A NaN out of the blue is another rule's; after growth it is where the growth ended.
      if (finite_ > 0 && (high_ > 0 || witness_.grew()) && !verdict_) conclude(Severity::kError, record.step);
      if (!healthy_now_) witness_.keep_baseline();
      return;
    }
    observe_finite(loss, record.step);
  }

  std::size_t alarms() const override { return alarms_; }

  Outcome outcome() const override {
    if (verdict_) return unhealthy({finding()});
    if (steps_ == 0) return NotEvaluated{"no loss was recorded"};
    if (static_cast<double>(finite_) < min_steps_) return too_few_steps(finite_, min_steps_);
    return Healthy{};
  }

 private:
  /// Of logits that no layer gives, such as similarities of the batch's own outputs, the task becomes harder as the
  /// model changes: up to what guessing costs, nothing diverges.
  bool is_contrast(double loss) const {
    const LossOperator* only = operators_.only();
    return only != nullptr && is_class_loss(only->name) && only->subject.empty() && classes_ >= 2 &&
           loss <= kGuess * std::log(classes_);
  }

  double rise(double loss) const { return loss - best_; }
  /// What counts as a doubling; for a loss near 0 the descent and the noise decide.
  double unit() const { return std::min(std::abs(start_), std::abs(best_)); }

  double learnt() const { return start_ - best_; }

  double high_limit() const {
    const double floor = (finite_ < 8 ? 2 : 1) * unit();
    const double noise = typical_.size() >= 3 ? mads_ * typical_.sigma() : 0;
    return std::max({noise, learnt() / 2, floor});
  }

  void observe_finite(double loss, std::int64_t step) {
    if (finite_++ == 0) start_ = best_ = loss;
    latest_ = loss;
    recent_.push(loss);
    // The first losses tell what noise is, unless something else blows up along with them.
    const bool learning_noise = finite_ <= kNoiseLosses && !witness_.grew();
    if (rise(loss) > high_limit() && !learning_noise) {
      observe_high(loss, step);
      return;
    }
    healthy_now_ = true;
    // Highs must outnumber the calm steps between them to add up.
    if (high_ > 0) --high_;
    if (peak_ && since_peak_ < kSettled) settle_.push(loss);
    if (peak_) ++since_peak_;
    judge_aftermath(step);
    // What follows an unresolved peak may be a dead model; it must not become the baseline.
    if (peak_ && (verdict_ || since_peak_ < 2 * kSettled)) return;
    witness_.take_baseline();
    typical_.push(loss);
    smooth_.push(loss);
    best_ = std::min(best_, smooth_.median());
    if (smooth_.size() == 5 && finite_ <= 8) start_ = std::max(start_, smooth_.median());
  }

  void observe_high(double loss, std::int64_t step) {
    healthy_now_ = false;
    witness_.keep_baseline();
    if (high_++ == 0) onset_ = step;
    if (!peak_ || loss > *peak_) {
      peak_ = loss;
      peak_step_ = step;
      since_peak_ = 0;
      settle_.clear();
    }
    if (witness_.grew()) grew_ = true;
    const auto high = static_cast<double>(high_);
    const double far = extreme_ * std::max({unit(), learnt() / 2, typical_.size() >= 3 ? typical_.sigma() : 0.0});
    extreme_seen_ = extreme_seen_ || rise(loss) > far;
    if (grew_ && (high >= persist_ || (high >= 2 && rise(loss) > 10 * far)))
      conclude(Severity::kError, onset_);
    else if (high >= warn_ && !is_contrast(loss))
      conclude(Severity::kWarning, onset_);
  }

  void judge_aftermath(std::int64_t step) {
    if (!peak_ || since_peak_ < kSettled) return;
    const double level = recent_.median();
    const bool learnt_again = level <= settle_.median() - (1 - kStill) * std::abs(settle_.median());
    const bool back = level <= best_ + std::max({0.1 * std::abs(best_), 0.1 * learnt(), 3 * typical_.sigma()});
    // A run that had learnt may have small gradients because it is good, and its old level is worth something;
    // a run that had not may be back at guessing.
    const bool had_learnt = learnt() >= 0.5 * std::abs(start_);
    const bool collapsed = !had_learnt && witness_.gradient_ratio() < kCollapsed;
    const bool better = level < best_ - std::max(0.05 * std::abs(best_), typical_.sigma());
    if (extreme_seen_ && grew_ && !learnt_again && (collapsed || !back)) {
      if (since_peak_ == kSettled || !verdict_) conclude(Severity::kError, onset_);
      return;
    }
    // It came back by itself: a spike, however high.
    if (back && !collapsed && (had_learnt || better || !verdict_)) {
      verdict_.reset();
      peak_.reset();
      grew_ = extreme_seen_ = false;
      high_ = 0;
      onset_ = step;
    }
  }

  void conclude(Severity severity, std::int64_t onset) {
    if (verdict_ && *verdict_ >= severity) return;
    verdict_ = severity;
    onset_ = high_ > 0 ? onset_ : onset;
    ++alarms_;
  }

  Finding finding() const {
    Finding finding;
    finding.rule = kId;
    finding.severity = *verdict_;
    finding.confidence = *verdict_ == Severity::kError ? 0.9 : 0.5;
    finding.first_step = onset_;
    finding.last_step = last_step_;
    const double top = peak_.value_or(latest_);
    finding.message = fmt::format("The loss left its level of {} at step {} and rose to {} (step {}).", number(best_),
                                  onset_, number(top), peak_ ? peak_step_ : last_step_);
    if (witness_.worst() > 1)
      finding.message += fmt::format(" With it, {} grew to {} times its healthy median.", witness_.worst_name(),
                                     number(witness_.worst()));
    if (std::isfinite(latest_) && peak_ && latest_ < 0.1 * *peak_)
      finding.message +=
          fmt::format(" It is {} now, but that is not a recovery: the model has stopped learning.", number(latest_));
    finding.evidence.push_back(evidence("highest loss", top, ">", best_ + high_limit(), Quantity::kLoss));
    if (witness_.worst() > 1)
      finding.evidence.push_back(evidence(witness_.worst_name() + " over its healthy median", witness_.worst(), ">",
                                          witness_.factor(), witness_.worst_quantity()));
    const double divisor =
        std::clamp(std::pow(10, std::ceil(std::log10(std::max(witness_.worst(), 10.0)) / 2)), 10.0, 100.0);
    finding.recommendations.push_back(lower_learning_rate(rate_, divisor, 0.6));
    const auto p95 = witness_.healthy_p95();
    finding.recommendations.push_back(clip_gradients(p95, 1.0));
    if (witness_.worst_is(Quantity::kWeightNorm))
      finding.recommendations.push_back(add_weight_decay(run_.optimizer, rate_, run_.momentum));
    return finding;
  }

  RunInfo run_;
  double mads_;
  double persist_;
  double warn_;
  double extreme_;
  DivergenceWitness witness_;
  double min_steps_;
  LossOperators operators_;
  double classes_ = NAN;
  stats::Window typical_{12};  ///< Losses that were not high; few, so that their spread is noise and not the descent.
  stats::Window smooth_{9};
  stats::Window recent_{5};
  stats::Window settle_{8};  ///< Right after a peak.
  std::size_t steps_ = 0;
  std::size_t finite_ = 0;
  std::size_t high_ = 0;
  std::size_t since_peak_ = 0;
  std::size_t alarms_ = 0;
  double start_ = NAN;
  double best_ = NAN;
  double latest_ = NAN;
  std::optional<double> peak_;
  std::int64_t peak_step_ = 0;
  std::int64_t onset_ = 0;
  std::int64_t last_step_ = 0;
  bool grew_ = false;
  bool extreme_seen_ = false;
  bool healthy_now_ = true;
  std::optional<double> rate_;
  std::optional<Severity> verdict_;
};

}  // namespace

Rule diverging_loss() {
  RuleInfo info;
  info.id = kId;
  info.title = "Loss diverges";
  info.meaning =
      "The loss rises far above what the run had reached, and stays. Steps are too long for the loss's curvature: each "
      "one overshoots more than the last, until something overflows or every unit is dead.";
  info.method =
      "A loss is high when it is above the best level (running median) by 10 robust standard deviations, by half of "
      "what was learnt, and by a doubling of that level. An error needs 5 high recorded steps in a row and a second "
      "witness, gradient norm, weight norm or update ratio above 10 times its healthy median; without witness, 20 high "
      "steps are a warning. The peak is kept: a blow-up that falls back and then neither learns nor has a gradient is "
      "an error although the last losses are low. A non-finite loss after growth is one too.";
  info.limits =
      "A loss that rises by nature (adversarial, reinforcement learning, growing penalty) may get a warning; one that "
      "tells samples of a batch apart gets none up to what guessing costs. A spike "
      "that comes back to its level is none. Progress at the edge of stability is none.";
  info.options = {
      {"deviations", 10, "Rise above the best level, in robust standard deviations of the healthy losses.",
       "Ten sigma: beyond heavy-tailed batch noise."},
      {"steps", 5, "High recorded steps in a row, for an error with a witness.",
       "llm-foundry: more than 4 times 2× the mean."},
      {"warning-steps", 20, "High recorded steps in a row, for a warning without a witness.",
       "Longer than loss spikes last."},
      {"extreme-rise", 9, "Rise over the best level, in units of that level, that makes the aftermath count.",
       "Ten times the start; raw 0 to 255 input gives 100 and more."},
      {"witness-factor", 10, "A witness over its healthy median.", "Practitioner review."},
      min_steps_option(10),
  };
  info.references = {
      "Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability, 2021",
      "MosaicML llm-foundry, KillLossSpike"};
  info.effects = {{"dead-units"},         {"nonfinite-loss"},          {"nonfinite-weight"},
                  {"nonfinite-gradient"}, {"nonfinite-activation"},    {"vanishing-gradient"},
                  {"collapsed-output"},   {"no-better-than-constant"}, {"plateaued-loss"}};
  info.essential = true;
  return make_rule<DivergingLoss>(std::move(info));
}

}  // namespace gradhealth::rules
