#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/persistence.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "rules/support/update_sizes.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "update-too-large";

class UpdateTooLarge final : public Judge {
 public:
  explicit UpdateTooLarge(const RuleOptions& options)
      : limit_(options.at("log-ratio")),
        usual_(options.at("usual-log-ratio")),
        replaced_(options.at("replacing-log-ratio")),
        few_steps_(options.at("few-steps")),
        min_steps_(options.at("min-steps")),
        persistence_(min_steps_, options.at("share")),
        medians_(static_cast<std::size_t>(min_steps_)) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    layers_.update(run);
    if (const double rate = record.at(Quantity::kLearningRate); rate > 0) rate_ = rate;
    const UpdateSizes sizes = update_sizes(run, record, layers_, scratch_);
    if (sizes.layers == 0) {
      tell();
      return;
    }
    medians_.push(sizes.median);
    persistence_.observe(sizes.median > limit_, record.step);
    const Subject& largest = run.of(Axis::kParameter)[sizes.largest];
    if (sizes.median > limit_ && !violent_ && subject_.name != largest.name) subject_ = largest;
    if (!violent_) observe_burst(sizes.median, record.step);
    tell();
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const auto now = severity()) return unhealthy({finding(*now)});
    if (persistence_.count() == 0) return NotEvaluated{"no update of a weight matrix was recorded"};
    if (static_cast<double>(persistence_.count()) < min_steps_) return too_few_steps(persistence_.count(), min_steps_);
    return Healthy{};
  }

 private:
  void tell() {
    const auto now = severity();
    alarm_.set(now ? static_cast<std::size_t>(*now) + 1 : 0);
  }

  /// Dead units and vast weights end a row of large updates soon; it has done its harm by then.
  void observe_burst(double log_ratio, std::int64_t step) {
    if (!(log_ratio > limit_)) {
      burst_ = 0;
      return;
    }
    if (burst_++ == 0) {
      burst_since_ = step;
      burst_ratio_ = log_ratio;
    }
    burst_last_ = step;
    violent_ = static_cast<double>(burst_) >= few_steps_ || log_ratio > replaced_;
  }

  std::optional<Severity> severity() const {
    if (violent_ && harm_.any()) return Severity::kError;
    if (!persistence_.holds()) return std::nullopt;
    return harm_.learns() ? Severity::kInfo : Severity::kWarning;
  }

  Finding finding(Severity severity) const {
    const bool lasts = persistence_.holds();
    const double ratio = std::pow(10, lasts ? medians_.median() : burst_ratio_);
    const Span span = lasts ? Span{*persistence_.since(), persistence_.last()} : Span{burst_since_, burst_last_};
    const std::string when = lasts ? fmt::format("Since step {}, every step changes", span.first)
                                   : fmt::format("At step {}, the update changes", span.first);
    Finding finding = new_finding(kId, severity, 0.8, ref(subject_), span,
                                  fmt::format("{} the weights by {} % of their size (median of the layers; most of all "
                                              "{}); {}.",
                                              when, number(100 * ratio), subject_.name, harm_.words()));
    finding.evidence.push_back(evidence("update over weight, median of the layers", ratio, ">", std::pow(10, limit_),
                                        Quantity::kUpdateRatio, subject_.name));
    finding.recommendations.push_back(lower_learning_rate(rate_, ratio / std::pow(10, usual_), 0.7));
    return finding;
  }

  double limit_;
  double usual_;
  double replaced_;
  double few_steps_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Persistence persistence_;
  stats::Window medians_;
  Layers layers_;
  std::vector<double> scratch_;
  Subject subject_;
  std::optional<double> rate_;
  std::size_t burst_ = 0;  ///< Recorded steps in a row with too large an update.
  std::int64_t burst_since_ = 0;
  std::int64_t burst_last_ = 0;
  double burst_ratio_ = 0;  ///< log10, of the first of them.
  bool violent_ = false;    ///< There was a row that is enough once the loss has suffered.
};

}  // namespace

Rule update_too_large() {
  RuleInfo info;
  info.id = kId;
  info.title = "Updates are too large";
  info.meaning =
      "Each step changes a good part of every weight, so that what was learned before is overwritten. The learning "
      "rate "
      "is far too high.";
  info.method =
      "Norm of the update over the norm of the weight, as the median of all weight matrices and kernels, at nearly all "
      "of the last recorded steps. Warning; information while the loss is below half of its start; an error if the "
      "loss "
      "rises or stands still, for which a few such steps in a row are enough, or one update larger than the weights. "
      "The advised learning rate brings the ratio to its usual size.";
  info.limits =
      "Weights that leave zero change by a lot at first and are not counted; nor are biases, norm scales and "
      "embeddings. A few large first steps, as Adam makes, are no finding.";
  info.options = {
      {"log-ratio", -1, "log10 of update over weight.", "TheDeepChecker: the band [-4, -1]."},
      {"usual-log-ratio", -2.5, "log10 of update over weight that the advice aims at.", "The middle of that band."},
      {"few-steps", 3, "Recorded steps in a row that are enough where the loss then suffers.",
       "Dead units silence most failures within ten steps."},
      {"replacing-log-ratio", 0,
       "log10 of update over weight of which a single step is enough, where the loss then suffers.",
       "An update as large as the weights replaces them."},
      {"share", 0.9, "Share of the last recorded steps at which it must be so.", "Tolerates quiet batches."},
      min_steps_option(20),
  };
  info.references = {"Ben Braiek, Khomh, TheDeepChecker, 2023"};
  info.effects = {{"diverging-loss"},       {"exploding-gradient"},
                  {"nonfinite-loss"},       {"nonfinite-gradient"},
                  {"nonfinite-weight"},     {"dead-units"},
                  {"nonfinite-activation"}, {"growing-weight"},
                  {"saturated-activation"}, {"zero-gradient"},
                  {"exploding-activation"}, {"attention-logit-growth"},
                  {"half-precision-range"}, {"nonfinite-optimizer-state"},
                  {"nonfinite-buffer"},     {"vanishing-gradient"},
                  {"collapsed-output"},     {"loss-spike"},
                  {"oscillating-loss"},     {"no-better-than-constant"}};
  return make_rule<UpdateTooLarge>(std::move(info));
}

}  // namespace gradhealth::rules
