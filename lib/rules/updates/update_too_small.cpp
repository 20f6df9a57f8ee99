#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/optimizer_advice.h"
#include "rules/support/persistence.h"
#include "rules/support/rule_support.h"
#include "rules/support/update_sizes.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "update-too-small";

class UpdateTooSmall final : public Judge {
 public:
  explicit UpdateTooSmall(const RuleOptions& options)
      : limit_(options.at("log-ratio")),
        usual_(options.at("usual-log-ratio")),
        gradient_(options.at("relative-gradient")),
        error_steps_(options.at("error-steps")),
        min_steps_(options.at("min-steps")),
        persistence_(min_steps_, options.at("share")),
        medians_(static_cast<std::size_t>(min_steps_)) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    layers_.update(run);
    const double rate = record.at(Quantity::kLearningRate);
    const bool rises = rate_ && rate > *rate_;
    if (std::isfinite(rate)) {
      rate_ = rate;
      highest_rate_ = std::max(highest_rate_, rate);
    }
    const UpdateSizes sizes = update_sizes(run, record, layers_, scratch_);
    if (sizes.layers == 0) return;
    // Small steps are meant while a schedule is far from its top.
    if (rises || (rate_ && *rate_ < highest_rate_ / 2)) return;
    medians_.push(sizes.median);
    persistence_.observe(sizes.median < limit_ && sizes.gradient_median > gradient_, record.step);
    const Subject& smallest = run.of(Axis::kParameter)[sizes.smallest];
    if (subject_.name != smallest.name) subject_ = smallest;
    const auto now = severity();
    alarm_.set(now ? static_cast<std::size_t>(*now) + 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const auto now = severity()) return unhealthy({finding(*now)});
    if (persistence_.count() == 0)
      return NotEvaluated{"no update of a weight matrix was recorded at the top of the learning rate's schedule"};
    if (static_cast<double>(persistence_.count()) < min_steps_) return too_few_steps(persistence_.count(), min_steps_);
    return Healthy{};
  }

 private:
  std::optional<Severity> severity() const {
    if (!persistence_.holds() || !harm_.stands_still()) return std::nullopt;
    const std::int64_t lasts = persistence_.last() - *persistence_.since();
    return static_cast<double>(lasts) >= error_steps_ ? Severity::kError : Severity::kWarning;
  }

  Finding finding(Severity severity) const {
    const double ratio = std::pow(10, medians_.median());
    Finding finding = new_finding(
        kId, severity, 0.8, ref(subject_), {*persistence_.since(), persistence_.last()},
        fmt::format(
            "Every step changes the weights by {} of their size only (median of the layers and of {:.0f} recorded "
            "steps), although there are gradients{}; {}.",
            number(ratio), min_steps_, rate_ ? fmt::format(" and the learning rate is {}", number(*rate_)) : "",
            harm_.words()));
    finding.evidence.push_back(evidence("update over weight, median of the layers", ratio, "<", std::pow(10, limit_),
                                        Quantity::kUpdateRatio, subject_.name));
    finding.recommendations.push_back(raise_learning_rate(rate_, std::pow(10, usual_) / ratio, 0.7));
    return finding;
  }

  double limit_;
  double usual_;
  double gradient_;
  double error_steps_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Persistence persistence_;
  stats::Window medians_;
  Layers layers_;
  std::vector<double> scratch_;
  Subject subject_;
  std::optional<double> rate_;
  double highest_rate_ = 0;
};

}  // namespace

Rule update_too_small() {
  RuleInfo info;
  info.id = kId;
  info.title = "Updates are too small";
  info.meaning =
      "Each step changes the weights by next to nothing, although there are gradients, and the loss stands still: the "
      "learning rate is orders of magnitude too low.";
  info.method =
      "Norm of the update over the norm of the weight, as the median of all weight matrices and kernels, at nearly all "
      "of the last recorded steps whose learning rate is at least half of the run's highest. A finding needs gradients "
      "that are not tiny against the weights and a loss that has stood still from the start: warning, an error when "
      "that lasts.";
  info.limits =
      "Warm-up and the end of a schedule do not count. Fine-tuning and converged runs make small steps in peace: their "
      "loss has fallen, or the run goes on from a checkpoint. Updates of exactly 0 belong to step-without-effect.";
  info.options = {
      {"log-ratio", -6, "log10 of update over weight.", "Adam late in training has -4 to -5."},
      {"usual-log-ratio", -2.5, "log10 of update over weight that the advice aims at.",
       "The middle of the usual band, as for update-too-large."},
      {"relative-gradient", 1e-4, "Gradient norm over weight norm, below which there is nothing to follow.",
       "A tenth of what the last layers of interpolating nets have."},
      {"share", 0.9, "Share of the last recorded steps at which it must be so.", "Tolerates single batches."},
      {"error-steps", 100, "Training steps for which it must last to be an error.",
       "A learning rate that is only too careful shows progress by then."},
      min_steps_option(20),
  };
  info.references = {"Ben Braiek, Khomh, TheDeepChecker, 2023", "Amazon SageMaker Debugger, UnchangedTensor"};
  info.effects = {{"step-without-effect"}, {"no-better-than-constant"}, {"plateaued-loss"}};
  return make_rule<UpdateTooSmall>(std::move(info));
}

}  // namespace gradhealth::rules
