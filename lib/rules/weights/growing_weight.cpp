#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/init_advice.h"
#include "rules/support/layers.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/operators.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "stats/line_fit.h"
#include "stats/robust.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "growing-weight";
constexpr double kDefaultGain = 0.577;   ///< Of LibTorch's own initialisation: 1/√3.
constexpr double kLargestDecay = 0.1;    ///< Of the weights a step; more is no decay.
constexpr double kSmallestDecay = 1e-6;  ///< Per step, below which the growth is not measured.

class GrowingWeight final : public Judge {
 public:
  explicit GrowingWeight(const RuleOptions& options)
      : growth_(options.at("growth")), min_steps_(options.at("min-steps")), most_(options.at("max-findings")) {}

  void observe(const Run& run, const StepRecord& record) override {
    if (steps_ == 0) info_ = run.info;
    harm_.observe(run, record);
    if (const double rate = record.at(Quantity::kLearningRate); rate > 0) rate_ = rate;
    meet(run);
    if (!any_grown_ && record.values(Quantity::kWeightNorm).empty()) return alarm_.set(0);
    any_grown_ = false;
    bool seen = false;
    std::size_t level = 0;
    for (Weight& weight : weights_) {
      if (!weight.judged) continue;
      seen |= observe_weight(weight, record);
      any_grown_ = any_grown_ || weight.since;
      if (const auto now = severity(weight)) level += static_cast<std::size_t>(*now) + 1;
    }
    steps_ += seen ? 1 : 0;
    alarm_.set(level);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    std::vector<Finding> findings;
    for (const Weight& weight : weights_)
      if (const auto now = severity(weight)) findings.push_back(finding(weight, *now));
    if (!findings.empty()) return unhealthy(std::move(findings), most_);
    if (steps_ == 0) return NotEvaluated{"no norms of weight matrices were recorded"};
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    return Healthy{};
  }

 private:
  struct Weight {
    Subject subject;
    bool judged = false;      ///< A matrix or kernel that data passes.
    bool normalized = false;  ///< A norm layer follows, so that its scale has no effect.
    double ordinary = 0;      ///< Norm that LibTorch's initialisation would give it.
    double reference = NAN;   ///< What growth is measured against.
    double norm = NAN;
    double largest = 0;
    stats::Window first{3};
    std::array<double, 5> recent{};  ///< A ring: there are many weights, and few of them are asked about.
    std::size_t seen = 0;
    stats::LineFit growth;  ///< ln(norm) over steps, since it is twice the reference.
    std::optional<std::int64_t> since;
    std::int64_t last_growth = 0;
  };

  void meet(const Run& run) {
    const std::vector<Subject>& parameters = run.of(Axis::kParameter);
    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    if (parameters.size() == weights_.size() && activations.size() == activations_) return;
    activations_ = activations.size();
    layers_.update(run);
    for (std::size_t i = weights_.size(); i < parameters.size(); ++i) {
      weights_.emplace_back();
      weights_.back().subject = parameters[i];
    }
    for (Weight& weight : weights_) weight.judged = false;
    for (const Layer& layer : layers_.all()) {
      Weight& weight = weights_[layer.parameter];
      // What is no layer's, as learned positions, starts from any scale.
      if (activations_ > 0 && (!layer.activation || !sums_products(activations[*layer.activation].kind))) continue;
      const std::string kind = layer.activation ? activations[*layer.activation].kind : "";
      const double gain = init_gain(weight.subject, kind, 1);
      weight.judged = true;
      weight.ordinary = gain > 0 ? kDefaultGain / gain : 0;
      weight.normalized = false;
      for (std::size_t i = layer.activation.value_or(activations_); i < activations_; ++i) {
        if (activations[i].module == weight.subject.module) continue;
        weight.normalized = is_norm(activations[i].kind);
        break;
      }
    }
  }

  bool observe_weight(Weight& weight, const StepRecord& record) {
    const double norm = record.at(Quantity::kWeightNorm, index_of(weight));
    if (!std::isfinite(norm)) return false;
    weight.norm = norm;
    weight.recent[weight.seen++ % weight.recent.size()] = norm;
    if (!weight.first.full()) {
      weight.first.push(norm);
      // A weight that starts at zero or close to it has to grow.
      weight.reference = std::max(weight.first.median(), weight.ordinary);
      return true;
    }
    if (norm < 2 * weight.reference) {
      weight.since.reset();
      weight.growth = {};
    } else {
      if (!weight.since) weight.since = record.step;
      weight.growth.add(static_cast<double>(record.step), std::log(norm));
    }
    if (norm > weight.largest) weight.last_growth = record.step;
    weight.largest = std::max(weight.largest, norm);
    last_step_ = record.step;
    return true;
  }

  std::size_t index_of(const Weight& weight) const { return static_cast<std::size_t>(&weight - weights_.data()); }

  std::optional<Severity> severity(const Weight& weight) const {
    if (!weight.judged || !weight.since || static_cast<double>(steps_) < min_steps_) return std::nullopt;
    if (weight.seen < weight.recent.size()) return std::nullopt;
    if (!(*std::min_element(weight.recent.begin(), weight.recent.end()) > growth_ * weight.reference))
      return std::nullopt;
    if (harm_.rose()) return Severity::kError;
    return harm_.learns() || weight.normalized ? Severity::kInfo : Severity::kWarning;
  }

  Finding finding(const Weight& weight, Severity severity) const {
    std::array<double, 5> recent = weight.recent;
    const double growth = stats::median_in_place(recent.data(), recent.size()) / weight.reference;
    Finding finding = new_finding(
        kId, severity, 0.8, ref(weight.subject), {*weight.since, weight.last_growth},
        fmt::format("The norm of {} has grown to {}, {} times what it started from ({}), since step {}; {}.",
                    weight.subject.name, number(weight.norm), number(growth), number(weight.reference), *weight.since,
                    harm_.words()));
    finding.evidence.push_back(evidence(fmt::format("norm of {} over its start", weight.subject.name), growth, ">",
                                        growth_, Quantity::kWeightNorm, weight.subject.name));
    const double rate_of_growth = weight.growth.slope();
    std::optional<double> decay;
    if (rate_ && rate_of_growth > kSmallestDecay && rate_of_growth < kLargestDecay)
      decay = std::stod(fmt::format("{:.1e}", rate_of_growth / *rate_));
    finding.recommendations.push_back(add_weight_decay(info_.optimizer, rate_, info_.momentum, decay));
    // What doubles within a few steps is beyond decay: the steps are too long.
    Recommendation lower = lower_learning_rate(rate_, 10, 0.4);
    if (severity == Severity::kError)
      finding.recommendations.insert(finding.recommendations.begin(), std::move(lower));
    else
      finding.recommendations.push_back(std::move(lower));
    return finding;
  }

  double growth_;
  double min_steps_;
  double most_;
  RunInfo info_;
  LossHarm harm_;
  Alarm alarm_;
  Layers layers_;
  std::vector<Weight> weights_;
  bool any_grown_ = false;  ///< To twice what it started from.
  std::size_t activations_ = 0;
  std::size_t steps_ = 0;
  std::int64_t last_step_ = 0;
  std::optional<double> rate_;
};

}  // namespace

Rule growing_weight() {
  RuleInfo info;
  info.id = kId;
  info.title = "Weights grow without bound";
  info.meaning =
      "The norm of a weight matrix multiplies during training. Activations and gradients grow with it, until something "
      "overflows or a softmax saturates; steps that are too long, or no weight decay where the loss is never "
      "satisfied, "
      "do that.";
  info.method =
      "Norm of every weight matrix and kernel against the median of its first recorded ones, or against LibTorch's own "
      "initialisation where it started smaller. A finding needs several recorded steps in a row beyond the threshold. "
      "Warning; information while the loss is below half of its start or a norm layer follows, which takes the scale "
      "out "
      "again; an error if the loss rises. The advised decay is the measured growth a step over the learning rate.";
  info.limits =
      "Biases, norm scales and embeddings are not looked at. A weight that has to reach targets of another size grows "
      "because it must: the loss falls then.";
  info.options = {
      {"growth", 32, "Norm over that at the start.", "TheDeepChecker: doubled five times."},
      min_steps_option(10),
      {"max-findings", 8, "Weights that get a finding of their own.", "What a person reads."},
  };
  info.references = {"Ben Braiek, Khomh, TheDeepChecker, 2023",
                     "Loshchilov, Hutter, Decoupled weight decay regularization, arXiv 1711.05101"};
  info.effects = {{"exploding-gradient"},   {"diverging-loss"},         {"nonfinite-loss"},
                  {"nonfinite-gradient"},   {"nonfinite-weight"},       {"dead-units"},
                  {"nonfinite-activation"}, {"exploding-activation"},   {"saturated-activation"},
                  {"half-precision-range"}, {"attention-logit-growth"}, {"nonfinite-optimizer-state"},
                  {"zero-gradient"},        {"update-too-large"},       {"no-better-than-constant"}};
  return make_rule<GrowingWeight>(std::move(info));
}

}  // namespace gradhealth::rules
