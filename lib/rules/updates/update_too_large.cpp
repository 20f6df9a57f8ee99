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
        min_steps_(options.at("min-steps")),
        persistence_(min_steps_, options.at("share")),
        medians_(static_cast<std::size_t>(min_steps_)) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    layers_.update(run);
    if (const double rate = record.at(Quantity::kLearningRate); rate > 0) rate_ = rate;
    const UpdateSizes sizes = update_sizes(run, record, layers_, scratch_);
    if (sizes.layers == 0) return;
    medians_.push(sizes.median);
    persistence_.observe(sizes.median > limit_, record.step);
    const Subject& largest = run.of(Axis::kParameter)[sizes.largest];
    if (subject_.name != largest.name) subject_ = largest;
    const auto now = severity();
    alarm_.set(now ? static_cast<std::size_t>(*now) + 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const auto now = severity()) return unhealthy({finding(*now)});
    if (persistence_.count() == 0) return NotEvaluated{"no update of a weight matrix was recorded"};
    if (static_cast<double>(persistence_.count()) < min_steps_) return too_few_steps(persistence_.count(), min_steps_);
    return Healthy{};
  }

 private:
  std::optional<Severity> severity() const {
    if (!persistence_.holds()) return std::nullopt;
    if (harm_.any()) return Severity::kError;
    return harm_.learns() ? Severity::kInfo : Severity::kWarning;
  }

  Finding finding(Severity severity) const {
    const double ratio = std::pow(10, medians_.median());
    Finding finding = new_finding(
        kId, severity, 0.8, ref(subject_), {*persistence_.since(), persistence_.last()},
        fmt::format(
            "Every step changes the weights by {} % (median of the layers and of {:.0f} recorded steps, most of "
            "all {}) since step {}; {}.",
            number(100 * ratio), min_steps_, subject_.name, *persistence_.since(), harm_.words()));
    finding.evidence.push_back(evidence("update over weight, median of the layers", ratio, ">", std::pow(10, limit_),
                                        Quantity::kUpdateRatio, subject_.name));
    finding.recommendations.push_back(lower_learning_rate(rate_, ratio / std::pow(10, usual_), 0.7));
    return finding;
  }

  double limit_;
  double usual_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Persistence persistence_;
  stats::Window medians_;
  Layers layers_;
  std::vector<double> scratch_;
  Subject subject_;
  std::optional<double> rate_;
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
      "rises or stands still. The advised learning rate brings the ratio to its usual size.";
  info.limits =
      "Weights that leave zero change by a lot at first and are not counted; nor are biases, norm scales and "
      "embeddings. A few large first steps, as Adam makes, are no finding.";
  info.options = {
      {"log-ratio", -1, "log10 of update over weight.", "TheDeepChecker: the band [-4, -1]."},
      {"usual-log-ratio", -2.5, "log10 of update over weight that the advice aims at.", "The middle of that band."},
      {"share", 0.9, "Share of the last recorded steps at which it must be so.", "Tolerates quiet batches."},
      min_steps_option(20),
  };
  info.references = {"Ben Braiek, Khomh, TheDeepChecker, 2023"};
  info.effects = {{"diverging-loss"},       {"exploding-gradient"},     {"nonfinite-loss"},
                  {"nonfinite-gradient"},   {"nonfinite-weight"},       {"dead-units"},
                  {"nonfinite-activation"}, {"growing-weight"},         {"saturated-activation"},
                  {"zero-gradient"},        {"exploding-activation"},   {"attention-logit-growth"},
                  {"half-precision-range"}, {"collapsed-output"},       {"loss-spike"},
                  {"oscillating-loss"},     {"no-better-than-constant"}};
  return make_rule<UpdateTooLarge>(std::move(info));
}

}  // namespace gradhealth::rules
