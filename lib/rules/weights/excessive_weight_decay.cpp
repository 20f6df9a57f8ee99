#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/layers.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "stats/robust.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "excessive-weight-decay";

class ExcessiveWeightDecay final : public Judge {
 public:
  explicit ExcessiveWeightDecay(const RuleOptions& options)
      : shrinkage_(options.at("shrinkage")), min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    if (steps_ == 0) optimizer_ = run.info.optimizer;
    decay_ = run.info.weight_decay;
    harm_.observe(run, record);
    if (const double rate = record.at(Quantity::kLearningRate); rate > rate_) rate_ = rate;
    layers_.update(run);
    if (record.values(Quantity::kWeightNorm).empty()) return;
    starts_.resize(run.of(Axis::kParameter).size(), NAN);
    shares_.clear();
    for (const Layer& layer : layers_.all()) {
      const double norm = record.at(Quantity::kWeightNorm, layer.parameter);
      double& start = starts_[layer.parameter];
      if (!std::isfinite(norm)) continue;
      if (std::isnan(start)) start = norm;
      if (start > 0) shares_.push_back(norm / start);
    }
    if (shares_.empty()) return;
    ++steps_;
    last_step_ = record.step;
    share_ = stats::median_in_place(shares_.data(), shares_.size());
    if (share_ > kShrinking) shrinking_since_.reset();
    if (share_ <= kShrinking && !shrinking_since_) shrinking_since_ = record.step;
    alarm_.set(severity() ? 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (!decay_) return NotEvaluated{"the optimizer's weight decay is not known"};
    if (severity()) return unhealthy({finding()});
    if (steps_ == 0) return NotEvaluated{"no norms of weight matrices were recorded"};
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    return Healthy{};
  }

 private:
  static constexpr double kShrinking = 0.9;  ///< Of the norm at the start: from there it is dated.

  std::optional<Severity> severity() const {
    const bool shrunk = decay_.value_or(0) > 0 && static_cast<double>(steps_) >= min_steps_ && share_ < shrinkage_;
    // Decay alone does not collapse a model that the loss still holds against it.
    return shrunk && harm_.stands_still() ? std::optional(Severity::kError) : std::nullopt;
  }

  Finding finding() const {
    Finding finding = new_finding(kId, Severity::kError, 0.85, {}, {shrinking_since_.value_or(0), last_step_}, {});
    finding.message = fmt::format(
        "The weight matrices have shrunk to {} % of their norms at the start (median), under a weight decay of {} with "
        "a learning rate of {}; {}.",
        number(100 * share_), number(*decay_), number(rate_), harm_.words());
    finding.evidence.push_back(
        evidence("median weight norm over its start", share_, "<", shrinkage_, Quantity::kWeightNorm));
    finding.evidence.push_back(loss_evidence(harm_));
    const double usual = std::min(1e-4, *decay_ / 100);
    Recommendation advice;
    advice.id = "lower-weight-decay";
    advice.text = fmt::format("Lower the weight decay from {} to {}; the usual size, so a guess.", number(*decay_),
                              number(usual));
    advice.why =
        "In each step, decay takes the learning rate times the decay of every weight. What the loss's gradient puts "
        "back must be as much, or the model shrinks to nothing.";
    advice.code = fmt::format(
        "for (auto& group : optimizer.param_groups())\n"
        "  static_cast<torch::optim::{}Options&>(group.options()).weight_decay({});",
        optimizer_.empty() || optimizer_ == "other" ? "SGD" : optimizer_, literal(usual));
    advice.confidence = 0.45;
    advice.values = {{"weight_decay", {usual}}};
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double shrinkage_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Layers layers_;
  std::vector<double> starts_;
  std::vector<double> shares_;
  std::string optimizer_;
  std::optional<double> decay_;
  double rate_ = 0;
  double share_ = 1;
  std::size_t steps_ = 0;
  std::optional<std::int64_t> shrinking_since_;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule excessive_weight_decay() {
  RuleInfo info;
  info.id = kId;
  info.title = "Weight decay is too strong";
  info.meaning =
      "Weight decay pulls every weight towards zero in each step. If it takes more than the gradient gives back, the "
      "weights shrink until the model gives the same answer for every input, and the loss stands at that of a "
      "constant.";
  info.method =
      "The optimizer has weight decay, the median weight matrix has lost most of its norm at the start, and the loss "
      "stands still.";
  info.limits =
      "Without an optimizer given to the monitor its weight decay is not known. Penalties that are added to the loss "
      "by "
      "hand are not seen.";
  info.options = {
      {"shrinkage", 0.3, "Share of its norm at the start that the median weight matrix has kept.",
       "Healthy runs, with decay or without, keep more than half, or their loss falls."},
      min_steps_option(20),
  };
  info.references = {"Krogh, Hertz, A simple weight decay can improve generalization, 1991"};
  info.effects = {{"vanishing-activation"}, {"vanishing-gradient"}, {"jacobian-growth"},  {"dead-units"},
                  {"collapsed-output"},     {"zero-gradient"},      {"plateaued-loss"},   {"no-better-than-constant"},
                  {"update-too-large"},     {"update-too-small"},   {"symmetric-weight"}, {"gradient-noise"}};
  return make_rule<ExcessiveWeightDecay>(std::move(info));
}

}  // namespace gradhealth::rules
