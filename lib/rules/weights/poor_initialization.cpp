#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/init_advice.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/operators.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "rules/support/signal_profile.h"
#include "rules/support/starvation.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "poor-initialization";
const double kHe = std::sqrt(2.0);
constexpr double kStarved = 1e-3;  ///< First layer's relative gradient over the last one's.
constexpr double kStarvedMedian = 0.1;
constexpr double kStarvedSteps = 20;
constexpr std::int64_t kFewElements =
    32;  ///< Up to there the deviation of random elements says little about their scale.

class PoorInitialization final : public Judge {
 public:
  explicit PoorInitialization(const RuleOptions& options)
      : strange_(options.at("gain")),
        harmful_(options.at("harmful-gain")),
        growth_(options.at("signal-growth")),
        min_steps_(options.at("min-steps")),
        starvation_({kStarved, kStarvedMedian, kStarvedSteps}) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    if (steps_ == 0 || any_outside_) starvation_.observe(run, record);
    if (steps_ == 0 && run.info.first_step > 0) continues_ = true;
    if (continues_) return;
    if (!any_recorded(record, Quantity::kWeightNorm) && !any_recorded(record, Quantity::kWeightNonfinite)) return;
    last_step_ = record.step;
    if (steps_ == 0) first_step_ = record.step;
    if (steps_++ == 0) measure(run, record);
    const auto now = severity();
    alarm_.set(now ? static_cast<std::size_t>(*now) + 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const auto now = severity()) return unhealthy({finding(*now)});
    if (continues_) return NotEvaluated{"the run goes on from a checkpoint: its first weights are not in this file"};
    if (weights_.empty()) return NotEvaluated{"no layer's weight with norm and shape was recorded at the first step"};
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    return Healthy{};
  }

 private:
  struct Weight {
    Subject subject;
    double gain = 0;  ///< Standard deviation times sqrt(fan-in).
  };

  void measure(const Run& run, const StepRecord& record) {
    layers_.update(run);
    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    for (const Subject& activation : activations) {
      const std::string op = operator_name(activation.kind);
      saturating_ = saturating_ || op == "tanh" || op == "sigmoid";
    }
    const SignalProfile profile = signal_profile(record, layers_, scratch_);
    if (profile.layers >= 2) signal_ = profile.growth;
    for (const Layer& layer : layers_.all()) {
      const Subject& subject = run.of(Axis::kParameter)[layer.parameter];
      // What is no layer's, as learned positions, has no fan-in.
      if (!layer.activation || subject.size <= kFewElements || !sums_products(activations[*layer.activation].kind))
        continue;
      const double gain =
          init_gain(subject, activations[*layer.activation].kind, record.at(Quantity::kWeightNorm, layer.parameter));
      // A weight of zeros is a choice: the last layer of a residual branch, an adapter.
      if (gain > 0 && std::isfinite(gain)) weights_.push_back({subject, gain});
    }
    any_outside_ =
        std::any_of(weights_.begin(), weights_.end(), [&](const Weight& each) { return is_outside(each, harmful_); });
  }

  static bool is_outside(const Weight& weight, double factor) {
    return weight.gain > factor * kHe || weight.gain < kHe / factor;
  }

  /// The signal did grow, or shrink, as the weights would have it.
  bool signal_follows() const {
    if (!signal_) return false;
    const bool large = *signal_ > std::log(growth_);
    const bool small = *signal_ < -std::log(growth_);
    return std::any_of(weights_.begin(), weights_.end(), [&](const Weight& weight) {
      return is_outside(weight, harmful_) && (weight.gain > kHe ? large : small);
    });
  }

  bool harmful() const { return any_outside_ && (signal_follows() || starvation_.since().has_value()); }

  std::optional<Severity> severity() const {
    if (static_cast<double>(steps_) < min_steps_) return std::nullopt;
    if (harmful() && harm_.any()) return Severity::kError;
    if (harmful() && !harm_.learns()) return Severity::kWarning;
    const bool strange =
        std::any_of(weights_.begin(), weights_.end(), [&](const Weight& each) { return is_outside(each, strange_); });
    return strange ? std::optional<Severity>(Severity::kInfo) : std::nullopt;
  }

  Finding finding(Severity severity) const {
    const double limit = severity == Severity::kInfo ? strange_ : harmful_;
    const auto distance = [](const Weight& weight) { return std::abs(std::log(weight.gain / kHe)); };
    const Weight* worst = &weights_[0];
    std::vector<std::string> names;
    std::vector<WeightGain> gains;
    const double wanted = saturating_ ? 1 : kHe;
    for (const Weight& weight : weights_) {
      if (distance(weight) > distance(*worst)) worst = &weight;
      if (!is_outside(weight, limit)) continue;
      names.push_back(weight.subject.name);
      gains.push_back({weight.subject.name, wanted / weight.gain});
    }
    const bool large = worst->gain > kHe;
    std::string consequence;
    if (signal_follows())
      consequence = fmt::format(" The signal {} by a factor {} over the hidden layers.",
                                *signal_ > 0 ? "grows" : "shrinks", number(std::exp(*signal_)));
    else if (starvation_.since())
      consequence = fmt::format(" The first layer gets {} of the last one's relative gradient.",
                                number(starvation_.last_ratio()));
    Finding finding = new_finding(
        kId, severity, severity == Severity::kInfo ? 0.6 : 0.8, ref(worst->subject), {first_step_, last_step_},
        fmt::format("{} start{} {} {} times the scale that keeps the signal's size through ReLU ({}: {} instead of "
                    "{}).{} It is so that {}.",
                    list_of(names, 3), names.size() == 1 ? "s" : "", large ? "with up to" : "with down to",
                    number(worst->gain / kHe), worst->subject.name, number(worst->gain), number(kHe), consequence,
                    harm_.words()));
    finding.evidence.push_back(evidence("standard deviation times sqrt(fan-in) over that of He initialisation",
                                        worst->gain / kHe, large ? ">" : "<", large ? limit : 1 / limit,
                                        Quantity::kWeightNorm, worst->subject.name));
    finding.recommendations.push_back(saturating_ ? glorot_init(names) : he_init(names));
    finding.recommendations.push_back(scale_init(gains));
    return finding;
  }

  double strange_;
  double harmful_;
  double growth_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Starvation starvation_;
  Layers layers_;
  std::vector<Weight> weights_;
  std::vector<double> scratch_;
  std::optional<double> signal_;  ///< ln of last over first signal at the start.
  bool any_outside_ = false;      ///< By enough to do harm.
  bool saturating_ = false;
  bool continues_ = false;
  std::size_t steps_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule poor_initialization() {
  RuleInfo info;
  info.id = kId;
  info.title = "Initial weights have the wrong scale";
  info.meaning =
      "The variance of initial weights decides whether the signal keeps its size on its way through the layers. "
      "Weights "
      "many times too large or too small make it explode or die out, forward and backward, before training begins.";
  info.method =
      "Standard deviation of every weight at the first recorded step times the square root of its fan-in, against √2, "
      "which keeps the signal through ReLU. Far outside it is information. A warning needs weights that are clearly "
      "outside and the signal to grow or shrink with them over the hidden layers, or the first layer to be starved of "
      "gradient; an error needs a loss that stands still or rises as well.";
  info.limits =
      "LibTorch's default has 0.577, a third of He's variance a layer, which is healthy for nets of ordinary depth. "
      "Weights of zeros are a choice. Residual and normalised nets live with any scale: without consequences there is "
      "no warning. A run that goes on from a checkpoint is not judged.";
  info.options = {
      {"gain", 10, "Times √2, or that part of it, for information.",
       "Amazon SageMaker Debugger's ratio of 10, which as an alarm fires on most healthy nets."},
      {"harmful-gain", 4, "Times √2, or that part of it, where it has consequences.",
       "Beyond LibTorch's default (1/2.4), tanh's (1/1.4) and small language models' (1/2.6)."},
      {"signal-growth", 1000, "Last over first hidden layer's RMS at the start, or its inverse.",
       "Default initialisation shrinks five hidden layers by 90."},
      min_steps_option(10),
  };
  info.references = {"He et al., Delving deep into rectifiers, ICCV 2015",
                     "Glorot, Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010"};
  info.effects = {{"exploding-activation"},    {"vanishing-activation"}, {"exploding-gradient"},
                  {"vanishing-gradient"},      {"jacobian-growth"},      {"dead-units"},
                  {"saturated-activation"},    {"diverging-loss"},       {"nonfinite-loss"},
                  {"nonfinite-gradient"},      {"nonfinite-weight"},     {"nonfinite-activation"},
                  {"zero-gradient"},           {"half-precision-range"}, {"nonfinite-optimizer-state"},
                  {"update-too-large"},        {"growing-weight"},       {"symmetric-weight"},
                  {"update-too-small"},        {"collapsed-output"},     {"initial-loss"},
                  {"no-better-than-constant"}, {"plateaued-loss"}};
  return make_rule<PoorInitialization>(std::move(info));
}

}  // namespace gradhealth::rules
