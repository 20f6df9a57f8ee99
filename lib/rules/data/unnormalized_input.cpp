#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/input_features.h"
#include "rules/support/layers.h"
#include "rules/support/loss_track.h"
#include "rules/support/operators.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "unnormalized-input";
constexpr std::size_t kFewFeatures = 16;  ///< A table of which every column counts.
constexpr std::size_t kSilentSteps = 3;   ///< Recorded steps in a row in which a whole layer gives zeros.
// What is pooled over many steps hardly moves with one more, and of 784 features a look takes 0.1 ms: one whenever the
// steps have grown by a fiftieth.
constexpr std::size_t kStepsPerLook = 50;

class UnnormalizedInput final : public Judge {
 public:
  explicit UnnormalizedInput(const RuleOptions& options)
      : conditioning_(options.at("conditioning")),
        rms_(options.at("rms")),
        scale_ratio_(options.at("scale-ratio")),
        gradient_ratio_(options.at("gradient-ratio")),
        dead_fraction_(options.at("dead-fraction")),
        consequence_steps_(options.at("consequence-steps")),
        min_steps_(options.at("min-steps")),
        loss_(options.at("loss-rise")) {}

  void observe(const Run& run, const StepRecord& record) override {
    if (input_.steps() == 0) first_step_ = record.step;
    input_.observe(run, record);
    // The rate that the harm was done with; a later decay has no part in it.
    if (const double rate = record.at(Quantity::kLearningRate); !rate_ && std::isfinite(rate)) rate_ = rate;
    if (input_.steps() == 0) return;
    last_step_ = record.step;
    if (input_.steps() >= next_look_) {
      suspicious_ = look().symptom != Symptom::kNone;
      next_look_ = input_.steps() + 1 + input_.steps() / kStepsPerLook;
    }
    if (static_cast<double>(record.step - first_step_) <= consequence_steps_) observe_consequences(run, record);
    const std::size_t state = !suspicious_ ? 0 : harm() != Harm::kNone ? 2 : 1;
    alarms_ = std::max(alarms_, state);
  }

  std::size_t alarms() const override { return alarms_; }

  Outcome outcome() const override {
    if (input_.steps() == 0) return NotEvaluated{"no statistics of the input were recorded"};
    if (is_embedding(input_.consumer()))
      return NotEvaluated{"the input are indices into an embedding, which have no scale"};
    if (exempt()) return NotEvaluated{fmt::format("the model normalises its input itself ({})", input_.consumer())};
    if (const Seen seen = look(); seen.symptom != Symptom::kNone) return unhealthy({finding(seen)});
    if (static_cast<double>(input_.steps()) < min_steps_) return too_few_steps(input_.steps(), min_steps_);
    return Healthy{};
  }

 private:
  bool exempt() const { return is_embedding(input_.consumer()) || is_norm(input_.consumer()); }

  enum class Symptom { kNone, kConditioning, kRms, kScaleRatio };
  struct Seen {
    Symptom symptom = Symptom::kNone;
    double observed = 0;
    const InputFeature* widest = nullptr;
    const InputFeature* narrowest = nullptr;
  };

  /// The dense feature with the least value; of many, the one that a tenth of them stay below: at the border of
  /// pictures there are pixels that one sample in thousands lights.
  template <class Value>
  const InputFeature* one_of_many(const Value& value) const {
    std::vector<std::pair<double, const InputFeature*>> ranked;
    for (const InputFeature& feature : input_.all())
      if (feature.seen && !feature.constant() && !feature.sparse() && feature.values.deviation() > 0)
        ranked.push_back({value(feature), &feature});
    if (ranked.empty()) return nullptr;
    const std::size_t place = ranked.size() > kFewFeatures ? ranked.size() / 10 : 0;
    std::nth_element(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(place), ranked.end());
    return ranked[place].second;
  }

  Seen look() const {
    Seen seen;
    if (exempt()) return seen;
    seen.widest = one_of_many([](const InputFeature& feature) { return -feature.rms(); });
    seen.narrowest = one_of_many([](const InputFeature& feature) { return feature.values.deviation(); });
    const auto is = [&seen](Symptom symptom, double observed, double threshold) {
      if (!(observed > threshold)) return false;
      seen.symptom = symptom;
      seen.observed = observed;
      return true;
    };
    if (is(Symptom::kConditioning, input_.conditioning(), conditioning_) || seen.widest == nullptr) return seen;
    if (is(Symptom::kRms, seen.widest->rms(), rms_) || seen.narrowest == nullptr) return seen;
    is(Symptom::kScaleRatio, seen.widest->rms() / seen.narrowest->values.deviation(), scale_ratio_);
    return seen;
  }

  Evidence describe(const Seen& seen) const {
    const std::string subject = (seen.widest != nullptr ? *seen.widest : input_.all()[0]).subject.name;
    if (seen.symptom == Symptom::kConditioning)
      return evidence("second moment of the input per feature", seen.observed, ">", conditioning_, Quantity::kInputMean,
                      subject);
    if (seen.symptom == Symptom::kRms)
      return evidence(fmt::format("RMS of {}", subject), seen.observed, ">", rms_, Quantity::kInputStd, subject);
    return evidence(fmt::format("RMS of {} over the standard deviation of {}", subject, seen.narrowest->subject.name),
                    seen.observed, ">", scale_ratio_, Quantity::kInputStd, subject);
  }

  void observe_consequences(const Run& run, const StepRecord& record) {
    loss_.observe(record);
    layers_.update(run);
    if (module_.empty() && !layers_.all().empty())
      module_ = run.of(Axis::kParameter)[layers_.all().front().parameter].module;
    const DepthProfile profile = depth_profile(record, layers_, scratch_);
    if (profile.layers >= 2 && profile.first == &layers_.all().front() && profile.median > 0)
      relative_.push(profile.first_value / profile.median);
    if (!nonfinite_step_ && (count_nonfinite(record, Quantity::kWeightNonfinite).subjects > 0 ||
                             count_nonfinite(record, Quantity::kGradientNonfinite).subjects > 0))
      nonfinite_step_ = record.step;
    // NaN in the data is a fault of its own.
    input_finite_ = input_finite_ && count_nonfinite(record, Quantity::kInputNonfinite).subjects == 0;

    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    silent_.resize(activations.size(), 0);
    for (std::size_t i = 0; i < activations.size() && !dead_step_; ++i) {
      const double zeros = record.at(Quantity::kActivationZeroFraction, i);
      const double dead = record.at(Quantity::kActivationDeadFraction, i);
      if (std::isnan(zeros) && std::isnan(dead)) continue;
      silent_[i] = zeros >= 1 ? silent_[i] + 1 : 0;
      if (silent_[i] < kSilentSteps && !(dead >= dead_fraction_)) continue;
      if (!gives_exact_zeros(activations[i].kind)) continue;
      dead_step_ = record.step;
      dead_layer_ = activations[i].name;
      dead_share_ = silent_[i] >= kSilentSteps ? 1 : dead;
    }
  }

  /// What shows that the scale does harm. Without, the input only deserves a warning.
  enum class Harm { kNone, kLossRose, kLossNonfinite, kNonfinite, kDead, kGradient };

  Harm harm() const {
    if (loss_.risen_step() && !loss_.recovered()) return Harm::kLossRose;
    if (loss_.nonfinite_step() && input_finite_) return Harm::kLossNonfinite;
    if (nonfinite_step_ && input_finite_) return Harm::kNonfinite;
    if (dead_step_) return Harm::kDead;
    if (relative_.size() >= 5 && relative_.median() >= gradient_ratio_ && !loss_.fell_by(0.2)) return Harm::kGradient;
    return Harm::kNone;
  }

  std::pair<std::string, Evidence> describe(Harm harm) const {
    switch (harm) {
      case Harm::kLossRose:
        return {fmt::format("the loss rose from {} to {} by step {}", number(loss_.start()), number(loss_.peak()),
                            loss_.peak_step()),
                evidence("highest loss", loss_.peak(), ">", loss_.limit(), Quantity::kLoss)};
      case Harm::kLossNonfinite:
        return {fmt::format("the loss was not finite any more at step {}", *loss_.nonfinite_step()),
                evidence("first step with a non-finite loss", static_cast<double>(*loss_.nonfinite_step()), "≥", 0,
                         Quantity::kLossNonfinite)};
      case Harm::kNonfinite:
        return {
            fmt::format("weights or gradients were not finite any more at step {}", *nonfinite_step_),
            evidence("first step with non-finite weights or gradients", static_cast<double>(*nonfinite_step_), "≥", 0)};
      case Harm::kDead:
        return {fmt::format("{} % of {} were dead by step {}", number(100 * dead_share_), dead_layer_, *dead_step_),
                evidence("share of a layer that is dead", dead_share_, "≥", dead_fraction_,
                         Quantity::kActivationZeroFraction, dead_layer_)};
      default:
        return {fmt::format("the first layer's gradient is {} times as large, relative to its weights, as that of the "
                            "median layer",
                            number(relative_.median())),
                evidence("first layer's relative gradient over the median layer's", relative_.median(), "≥",
                         gradient_ratio_)};
    }
  }

  Finding finding(const Seen& symptom) const {
    const Evidence seen = describe(symptom);
    const bool harmful = harm() != Harm::kNone;
    const double scale = input_.pixel_scale();
    const stats::Moments pooled = input_.pooled();
    Finding finding;
    finding.rule = kId;
    finding.severity = harmful ? Severity::kError : Severity::kWarning;
    finding.confidence = harmful ? 0.95 : 0.7;
    finding.subject.module = module_;
    finding.subject.name = seen.subject;
    finding.first_step = first_step_;
    finding.last_step = last_step_;
    finding.message = fmt::format(
        "The model's input {} from {} to {} (mean {}, standard deviation {}): {} {}, healthy is "
        "below {}.",
        scale == 1 ? "runs" : fmt::format("is raw pixels of the range 0 to {:.0f}, seen", scale),
        number(input_.minimum()), number(input_.maximum()), number(pooled.mean()), number(pooled.deviation()),
        seen.what, number(seen.observed), number(seen.threshold));
    finding.evidence.push_back(seen);
    if (harmful) {
      auto [text, proof] = describe(harm());
      finding.message += fmt::format(" It does harm: {}.", text);
      finding.evidence.push_back(std::move(proof));
    } else {
      finding.message += " No harm is seen so far.";
    }
    finding.recommendations.push_back(normalize_input(input_));
    const double excess = std::clamp(std::ceil(input_.conditioning()), 10.0, 1e4);
    finding.recommendations.push_back(lower_learning_rate(rate_, excess, 0.3));
    return finding;
  }

  double conditioning_;
  double rms_;
  double scale_ratio_;
  double gradient_ratio_;
  double dead_fraction_;
  double consequence_steps_;
  double min_steps_;
  InputFeatures input_;
  LossTrack loss_;
  Layers layers_;
  stats::Window relative_{20};
  std::vector<double> scratch_;
  std::vector<std::size_t> silent_;
  std::string module_;
  std::size_t alarms_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
  bool suspicious_ = false;
  std::size_t next_look_ = 1;  ///< Steps with an input by then.
  bool input_finite_ = true;
  std::optional<std::int64_t> nonfinite_step_;
  std::optional<std::int64_t> dead_step_;
  std::string dead_layer_;
  double dead_share_ = 0;
  std::optional<double> rate_;
};

}  // namespace

Rule unnormalized_input() {
  RuleInfo info;
  info.id = kId;
  info.title = "Input is not normalised";
  info.meaning =
      "What enters the first layer is large, far from zero, or has features of very different scale. The curvature of "
      "the loss along the first layer's weights is proportional to the input's second moment: a learning rate that "
      "suits the rest of the network is many times too large there. Gradients explode in the first steps, ReLUs die, "
      "and the loss ends flat and finite at the level of guessing.";
  info.method =
      "λ₁ is the top eigenvalue of E[xxᵀ] of the input; λ₁/dim is bounded from below by the features' means and by "
      "the largest feature. A warning if that exceeds its threshold, if a dense feature is large, or if dense features "
      "differ by orders of magnitude; of more than 16 features, a tenth of them. An error if it does harm as well: the "
      "loss rises to a multiple of its start, "
      "something becomes non-finite, half of a layer dies, or the first layer's gradient, relative to its weights, is "
      "far above the median layer's while the loss does not fall. A loss that rose and then came down to learn takes "
      "its error back.";
  info.limits =
      "Inputs in [0, 1], standardised inputs, one-hot codes and sparse features are healthy; token ids and models "
      "whose first layer normalises are not judged. Physical units with a learning rate to suit get a warning at most.";
  info.options = {
      {"conditioning", 25, "λ₁/dim above which the input is suspicious.",
       "Practitioner review: five times unit scale, squared."},
      {"rms", 10, "RMS of a dense feature above which the input is suspicious.",
       "Zhang et al., AUTOTRAINER: mean output of 10."},
      {"scale-ratio", 1000, "RMS of the widest dense feature over the deviation of the narrowest.",
       "Three orders of magnitude."},
      {"loss-rise", 3, "Multiple of its start that the loss must reach to count as harm.", "Practitioner review."},
      {"gradient-ratio", 30, "First layer's relative gradient over the median layer's that counts as harm.",
       "Practitioner review."},
      {"dead-fraction", 0.5, "Share of dead units of a layer that counts as harm.", "Practitioner review."},
      {"consequence-steps", 1000, "Steps within which harm is blamed on the input.",
       "Later harm has had other causes."},
      min_steps_option(10),
  };
  info.references = {"LeCun et al., Efficient BackProp, 1998, section 4.3", "Schoop et al., UMLAUT, CHI 2021"};
  info.effects = {{"exploding-gradient"},   {"diverging-loss"},          {"dead-units"},
                  {"jacobian-growth"},      {"vanishing-gradient"},      {"nonfinite-gradient"},
                  {"nonfinite-activation"}, {"nonfinite-weight"},        {"nonfinite-loss"},
                  {"update-too-large"},     {"growing-weight"},          {"saturated-activation"},
                  {"zero-gradient"},        {"exploding-activation"},    {"nonfinite-optimizer-state"},
                  {"half-precision-range"}, {"collapsed-output"},        {"initial-loss"},
                  {"loss-spike"},           {"no-better-than-constant"}, {"oscillating-loss"},
                  {"plateaued-loss"}};
  info.essential = true;
  return make_rule<UnnormalizedInput>(std::move(info));
}

}  // namespace gradhealth::rules
