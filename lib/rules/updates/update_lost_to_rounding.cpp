#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/optimizer_advice.h"
#include "rules/support/rule_support.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "update-lost-to-rounding";

class UpdateLostToRounding final : public Judge {
 public:
  explicit UpdateLostToRounding(const RuleOptions& options)
      : fraction_(options.at("unchanged-fraction")),
        min_steps_(options.at("min-steps")),
        most_(options.at("max-findings")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    const std::vector<Subject>& parameters = run.of(Axis::kParameter);
    for (; known_ < parameters.size(); ++known_) {
      const Subject& parameter = parameters[known_];
      if (parameter.kind == "weight" && (parameter.dtype == "float16" || parameter.dtype == "bfloat16"))
        weights_.push_back({known_, parameter, stats::Window(static_cast<std::size_t>(min_steps_))});
    }
    const double rate = record.at(Quantity::kLearningRate);
    if (std::isfinite(rate)) highest_rate_ = std::max(highest_rate_, rate);
    // Small steps are meant at both ends of a schedule.
    if (rate == 0 || rate < highest_rate_ / 2) return;
    std::size_t level = 0;
    for (Weight& weight : weights_) {
      observe_weight(weight, record);
      level += is_lost(weight) ? 1 : 0;
    }
    alarm_.set(level);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    std::vector<Finding> findings;
    std::size_t steps = 0;
    for (const Weight& weight : weights_) {
      steps = std::max(steps, weight.unchanged.size());
      if (is_lost(weight)) findings.push_back(finding(weight));
    }
    if (!findings.empty()) return unhealthy(std::move(findings), most_);
    if (weights_.empty()) return NotEvaluated{"no weight is kept in float16 or bfloat16"};
    if (steps == 0) return NotEvaluated{"how many elements an update left as they were was not recorded"};
    if (static_cast<double>(steps) < min_steps_) return too_few_steps(steps, min_steps_);
    return Healthy{};
  }

 private:
  struct Weight {
    std::size_t index;
    Subject subject;
    stats::Window unchanged;
    std::optional<std::int64_t> since = std::nullopt;
    std::int64_t last = 0;
  };

  void observe_weight(Weight& weight, const StepRecord& record) const {
    const double unchanged = record.at(Quantity::kUnchangedFraction, weight.index);
    if (!std::isfinite(unchanged)) return;
    weight.unchanged.push(unchanged);
    weight.last = record.step;
    if (unchanged > fraction_ && !weight.since) weight.since = record.step;
    if (!(unchanged > fraction_) && !(weight.unchanged.median() > fraction_)) weight.since.reset();
  }

  bool is_lost(const Weight& weight) const {
    return weight.since && weight.unchanged.full() && weight.unchanged.median() > fraction_;
  }

  Finding finding(const Weight& weight) const {
    const double unchanged = weight.unchanged.median();
    Finding finding = new_finding(
        kId, Severity::kWarning, 0.8, ref(weight.subject), {*weight.since, weight.last},
        fmt::format(
            "{} % of the elements of {} that have a gradient stay exactly as they are at an update (median over "
            "{:.0f} recorded steps): {} rounds the rest of the step away; {}.",
            number(100 * unchanged), weight.subject.name, min_steps_, weight.subject.dtype, harm_.words()));
    finding.evidence.push_back(evidence("share of elements that the update left unchanged", unchanged, ">", fraction_,
                                        Quantity::kUnchangedFraction, weight.subject.name));
    finding.recommendations.push_back(keep_float_weights(weight.subject.dtype));
    return finding;
  }

  double fraction_;
  double min_steps_;
  double most_;
  LossHarm harm_;
  Alarm alarm_;
  std::vector<Weight> weights_;
  std::size_t known_ = 0;
  double highest_rate_ = 0;
};

}  // namespace

Rule update_lost_to_rounding() {
  RuleInfo info;
  info.id = kId;
  info.title = "Updates are lost to rounding";
  info.meaning =
      "Weights in half precision have two or three digits. An update that is smaller than half the distance to the "
      "next "
      "number changes nothing, however often it is made: training stops early, without a sign.";
  info.method =
      "Share of the elements with a gradient that the update left exactly as they were, of float16 and bfloat16 "
      "weights, "
      "as the median over recorded steps whose learning rate is at least half of the run's highest.";
  info.limits =
      "Optimizers that keep their own copy of the weights in single precision, or round at random, lose less than this "
      "shows. Single precision is not judged here: there only steps that are far too small are lost.";
  info.options = {
      {"unchanged-fraction", 0.5, "Share of the elements that stay as they are.", "Practitioner review."},
      min_steps_option(20),
      {"max-findings", 8, "Weights that get a finding of their own.", "What a person reads."},
  };
  info.references = {"Zamirai et al., Revisiting bfloat16 training, arXiv 2010.06192",
                     "Micikevicius et al., Mixed precision training, arXiv 1710.03740"};
  info.effects = {{"step-without-effect"},     {"update-too-small"},        {"plateaued-loss"},
                  {"no-better-than-constant"}, {"parameter-not-optimized"}, {"collapsed-output"}};
  return make_rule<UpdateLostToRounding>(std::move(info));
}

}  // namespace gradhealth::rules
