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
#include "rules/support/update_sizes.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "missing-warmup";

class MissingWarmup final : public Judge {
 public:
  explicit MissingWarmup(const RuleOptions& options)
      : rise_(options.at("rise")),
        ratio_(options.at("ratio")),
        replaced_(options.at("replacing-log-ratio")),
        early_steps_(options.at("early-steps")),
        min_steps_(options.at("min-steps")),
        later_(static_cast<std::size_t>(min_steps_)) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    layers_.update(run);
    adaptive_ = run.info.optimizer.rfind("Adam", 0) == 0 || run.info.optimizer == "RMSprop";
    from_start_ = run.info.first_step == 0;
    const double rate = record.at(Quantity::kLearningRate);
    if (first_rate_ && rate > *first_rate_) warms_up_ = true;
    if (!first_rate_ && std::isfinite(rate)) first_rate_ = rate;
    const double loss = record.at(Quantity::kLoss);
    if (!first_step_) first_step_ = record.step;
    const bool early = static_cast<double>(record.step - *first_step_) < early_steps_;
    if (early && std::isfinite(loss)) observe_loss(loss, record.step);
    // Not finite is beyond what a warm-up mends: others tell that.
    if (!early && !back_ && std::isfinite(loss) && loss < start_) back_ = record.step;
    last_step_ = record.step;
    // Without a rise nothing more is asked than that there were enough steps.
    const bool settled = !early && later_.full() && risen_ < 2;
    if (!adaptive_ || settled) return;
    const UpdateSizes sizes = update_sizes(run, record, layers_, scratch_);
    if (sizes.layers == 0) return;
    if (!first_sizes_.full()) {
      first_sizes_.push(sizes.median);
      replaces_ = replaces_ || sizes.median > replaced_;
    }
    if (!early) later_.push(sizes.median);
    const auto now = severity();
    alarm_.set(now ? static_cast<std::size_t>(*now) + 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const auto now = severity()) return unhealthy({finding(*now)});
    if (!first_step_ || !adaptive_) return NotEvaluated{"only for optimizers with a second moment, such as Adam"};
    if (!from_start_) return NotEvaluated{"the run goes on from a checkpoint: its first steps are not in this file"};
    if (first_sizes_.size() == 0) return NotEvaluated{"no update of a weight matrix was recorded"};
    if (!later_.full())
      return NotEvaluated{fmt::format("needs {:.0f} recorded steps after the first {:.0f} steps, has {}", min_steps_,
                                      early_steps_, later_.size())};
    return Healthy{};
  }

 private:
  void observe_loss(double loss, std::int64_t step) {
    if (std::isnan(start_)) start_ = loss;
    if (!(loss <= peak_)) {
      peak_ = loss;
      peak_step_ = step;
      back_.reset();
    } else if (!back_ && loss < start_) {
      back_ = step;
    }
    if (loss > rise_ * start_) ++risen_;
  }

  double size_ratio() const { return std::pow(10, first_sizes_.median() - later_.median()); }

  std::optional<Severity> severity() const {
    if (!adaptive_ || !from_start_ || warms_up_ || !later_.full() || harm_.loss().nonfinite_step()) return std::nullopt;
    // What replaces the weights at once is too large a learning rate, warmed up or not.
    if (replaces_) return std::nullopt;
    // One wild batch is no rise.
    if (!(start_ > 0) || risen_ < 2 || !(size_ratio() > ratio_)) return std::nullopt;
    const bool quickly = back_ && static_cast<double>(*back_ - *first_step_) < early_steps_;
    return quickly || harm_.loss().recent() < 0.5 * start_ ? Severity::kInfo : Severity::kWarning;
  }

  Finding finding(Severity severity) const {
    Finding finding = new_finding(
        kId, severity, 0.6, {}, {*first_step_, back_.value_or(last_step_)},
        fmt::format(
            "In the first steps the loss rises from {} to {} (step {}){}, while updates are {} times as large as "
            "later on; {}.",
            number(start_), number(peak_), peak_step_,
            back_ ? fmt::format(" and is back at step {}", *back_) : " and does not come back", number(size_ratio()),
            harm_.words()));
    finding.evidence.push_back(
        evidence("peak of the loss over its start", peak_ / start_, ">", rise_, Quantity::kLoss));
    finding.evidence.push_back(evidence("first updates over later ones", size_ratio(), ">", ratio_));
    const std::int64_t until = back_.value_or(peak_step_ + 1) - *first_step_;
    const std::int64_t steps = std::clamp<std::int64_t>(10 * until, 100, 2000);
    finding.recommendations.push_back(warm_up(first_rate_.value_or(1e-3), steps));
    return finding;
  }

  double rise_;
  double ratio_;
  double replaced_;
  double early_steps_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Layers layers_;
  std::vector<double> scratch_;
  stats::Window first_sizes_{5};  ///< log10 of the median update ratio.
  stats::Window later_;
  bool adaptive_ = false;
  bool from_start_ = true;
  bool warms_up_ = false;
  bool replaces_ = false;  ///< An early update was larger than the weights.
  double start_ = NAN;
  double peak_ = NAN;
  std::int64_t peak_step_ = 0;
  std::size_t risen_ = 0;
  std::optional<std::int64_t> back_;  ///< The loss is below its start again.
  std::optional<std::int64_t> first_step_;
  std::int64_t last_step_ = 0;
  std::optional<double> first_rate_;
};

}  // namespace

Rule missing_warmup() {
  RuleInfo info;
  info.id = kId;
  info.title = "First steps are too wild without warm-up";
  info.meaning =
      "Adam and its like divide by a second moment that they know from a few batches only at the start. At full "
      "learning "
      "rate these steps are the wildest of the run: the loss rises at once, and a bad region may never be left.";
  info.method =
      "For optimizers with a second moment: the loss rises above its start within the first steps while updates are "
      "many "
      "times as large as they are later on. Information if the loss soon comes back or falls to half of its start, "
      "otherwise a warning.";
  info.limits =
      "Needs the recorded steps after the first hundred to compare with. A learning rate that rises is a warm-up. A "
      "run "
      "that becomes non-finite is not told here, nor one whose first updates are larger than the weights: its "
      "learning rate is too large altogether.";
  info.options = {
      {"rise", 1.5, "Loss over its start.", "Practitioner review; an ordinary first step lowers the loss."},
      {"ratio", 10, "Median update ratio of the first five recorded steps over that of later ones.",
       "Without warm-up a schedule makes less than that of a decade."},
      {"replacing-log-ratio", 0,
       "log10 of update over weight, median of the layers, beyond which a warm-up mends nothing.",
       "An update as large as the weights replaces them."},
      {"early-steps", 100, "Steps that are the first ones.", "Warm-ups are at least that long."},
      min_steps_option(20),
  };
  info.references = {"Liu et al., On the variance of the adaptive learning rate and beyond, arXiv 1908.03265",
                     "Ma, Yarats, On the adequacy of untuned warmup for adaptive optimization, arXiv 1910.04209"};
  info.effects = {{"diverging-loss"}, {"exploding-gradient"},     {"dead-units"},     {"saturated-activation"},
                  {"zero-gradient"},  {"vanishing-gradient"},     {"growing-weight"}, {"update-too-large"},
                  {"loss-spike"},     {"no-better-than-constant"}};
  return make_rule<MissingWarmup>(std::move(info));
}

}  // namespace gradhealth::rules
