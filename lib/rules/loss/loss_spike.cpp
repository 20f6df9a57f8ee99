#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/new_finding.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"
#include "stats/quantile.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "loss-spike";

class LossSpike final : public Judge {
 public:
  explicit LossSpike(const RuleOptions& options)
      : deviations_(options.at("deviations")),
        rise_(options.at("rise")),
        severe_(options.at("severe-rise")),
        slow_(options.at("slow-steps")),
        longest_(options.at("longest")),
        frequent_(options.at("frequent")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    if (count_ == 0) info_ = run.info;
    if (const double rate = record.at(Quantity::kLearningRate); std::isfinite(rate)) rate_ = rate;
    const double loss = record.at(Quantity::kLoss);
    if (!std::isfinite(loss)) return;
    if (count_++ == 0) start_ = loss;
    if (count_ <= 5) start_ = std::max(start_, loss);
    if (calm_.full() && loss > limit()) {
      observe_high(loss, record.step);
    } else {
      if (high_ > 0) close();
      calm_.push(loss);
      p95_.push(global_gradient_norm(record));
    }
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (count_ == 0) return NotEvaluated{"no loss was recorded"};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(count_) < min_steps_) return too_few_steps(count_, min_steps_);
    return Healthy{};
  }

 private:
  struct Spike {
    std::int64_t step = 0;
    std::int64_t back = 0;
    double level = 0;  ///< Before it.
    double peak = 0;
    double limit = 0;
    std::size_t records = 0;
  };

  double learnt() const { return std::max(start_ - calm_.median(), 0.0); }

  /// Above the noise, and by enough of what the run has gained to matter.
  double limit() const {
    const double gained = std::max(learnt(), 0.1 * std::abs(start_));
    return calm_.median() + std::max(deviations_ * calm_.sigma(), rise_ * gained);
  }

  void observe_high(double loss, std::int64_t step) {
    if (high_ == 0) now_ = {step, step, calm_.median(), loss, limit(), 0};
    ++high_;
    now_.records = high_;
    now_.back = step;
    now_.peak = std::max(now_.peak, loss);
    if (static_cast<double>(high_) < longest_) return;
    // It has stayed for so long that it is the level now, and no spike.
    calm_.clear();
    high_ = 0;
  }

  void close() {
    high_ = 0;
    ++spikes_;
    if (spikes_ == 1) first_step_ = now_.step;
    last_step_ = now_.back;
    const bool severe = now_.peak - now_.level > severe_ * std::max(learnt(), 0.1 * std::abs(start_));
    if (severe && static_cast<double>(now_.records) >= slow_) ++harmful_;
    if (spikes_ == 1 || now_.peak - now_.level > worst_.peak - worst_.level) worst_ = now_;
  }

  std::optional<Severity> severity() const {
    if (spikes_ == 0) return std::nullopt;
    return static_cast<double>(harmful_) >= frequent_ && is_minimized(info_) ? Severity::kWarning : Severity::kInfo;
  }

  Finding finding() const {
    Finding finding = new_finding(kId, *severity(), 0.7, {}, {first_step_, last_step_}, {});
    finding.message = fmt::format(
        "The loss jumped {} and came back; the highest rose from {} to {} at step {} and took {} recorded step{}.",
        spikes_ == 1 ? "once" : fmt::format("{} times", spikes_), number(worst_.level), number(worst_.peak),
        worst_.step, worst_.records, worst_.records == 1 ? "" : "s");
    finding.evidence.push_back(evidence("highest loss of a spike", worst_.peak, ">", worst_.limit, Quantity::kLoss));
    if (*severity() == Severity::kWarning) {
      finding.message += fmt::format(" {} of them undid much of what was learnt for several recorded steps.", harmful_);
      finding.evidence.push_back(evidence("spikes that were high and came back slowly", static_cast<double>(harmful_),
                                          "≥", frequent_, Quantity::kLoss));
    }
    finding.recommendations.push_back(
        clip_gradients(p95_.count() >= 5 ? std::optional(p95_.value()) : std::nullopt, 1.0));
    if (info_.optimizer.rfind("Adam", 0) == 0 && info_.beta2.value_or(0.999) > 0.97)
      finding.recommendations.push_back(lower_beta2());
    else
      finding.recommendations.push_back(lower_learning_rate(rate_, 3, 0.4));
    return finding;
  }

  Recommendation lower_beta2() const {
    const char* type = info_.optimizer == "AdamW" ? "AdamW" : "Adam";
    Recommendation advice;
    advice.id = "lower-beta2";
    advice.text = fmt::format("Lower {}'s beta2 from {} to 0.95.", type, number(info_.beta2.value_or(0.999)));
    advice.why =
        "A second moment with a long memory takes a thousand steps to notice that gradients have grown, and divides by "
        "too little meanwhile.";
    advice.code = fmt::format(
        "for (auto& group : optimizer.param_groups())\n"
        "  static_cast<torch::optim::{}Options&>(group.options()).betas(std::make_tuple({}, 0.95));",
        type, literal(info_.momentum.value_or(0.9)));
    advice.confidence = 0.5;
    advice.values = {{"beta2", {0.95}}};
    return advice;
  }

  double deviations_;
  double rise_;
  double severe_;
  double slow_;
  double longest_;
  double frequent_;
  double min_steps_;
  RunInfo info_;
  stats::Window calm_{32};  ///< Losses outside of spikes.
  stats::Quantile p95_{0.95};
  Alarm alarm_;
  Spike now_;
  Spike worst_;
  double start_ = NAN;
  std::size_t count_ = 0;
  std::size_t high_ = 0;  ///< Recorded steps of the spike that is on.
  std::size_t spikes_ = 0;
  std::size_t harmful_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
  std::optional<double> rate_;
};

}  // namespace

Rule loss_spike() {
  RuleInfo info;
  info.id = kId;
  info.title = "Loss spikes and recovers";
  info.meaning =
      "The loss jumps far above its level and comes back. A bad batch does that once; when it comes again and again "
      "and "
      "each time takes its while, steps are too long for what gradients do at times.";
  info.method =
      "A spike begins when the loss is above the median of the last 32 calm losses by 6 robust deviations and by a "
      "tenth "
      "of what was learnt, and ends when it is back; spikes do not enter the baseline. Information, and a warning from "
      "three spikes on that undo half of what was learnt and last five recorded steps or more.";
  info.limits =
      "What stays up for 30 recorded steps is no spike (diverging-loss judges that). The last, smaller batch of an "
      "epoch "
      "can give small ones. Unrecorded steps hide short spikes.";
  info.options = {
      {"deviations", 6, "Rise over the median of calm losses, in robust deviations.",
       "llm.c skips updates from 3 on; 6 leave out heavy tails of batches."},
      {"rise", 0.1, "Rise relative to what was learnt.", "Less does not matter."},
      {"severe-rise", 0.5, "Rise relative to what was learnt, for a harmful spike.", "Half of it is lost."},
      {"slow-steps", 5, "Recorded steps that a harmful spike takes.", "Single bad batches take one or two."},
      {"longest", 30, "Recorded steps after which it is the level and no spike.", "As long as the baseline."},
      {"frequent", 3, "Harmful spikes for a warning.", "Twice is chance."},
      min_steps_option(33),
  };
  info.references = {"Takase et al., Spike no more: stabilizing the pre-training of large language models, 2023",
                     "Molybog et al., A theory on Adam instability in large-scale machine learning, 2023"};
  info.effects = {{"exploding-gradient"}};
  return make_rule<LossSpike>(std::move(info));
}

}  // namespace gradhealth::rules
