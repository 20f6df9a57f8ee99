#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "batchnorm-statistics";

class BatchnormStatistics final : public Judge {
 public:
  explicit BatchnormStatistics(const RuleOptions& options)
      : gap_(options.at("gap")),
        unsettled_(options.at("unsettled-gap")),
        large_batch_(options.at("large-batch")),
        run_length_(options.at("run-length")),
        min_steps_(options.at("min-steps")),
        most_(options.at("max-findings")) {}

  void observe(const Run& run, const StepRecord& record) override {
    if (!first_step_) first_step_ = record.step;
    if (const double batch = record.at(Quantity::kBatchSize); batch > 0) batch_ = batch;
    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    for (std::size_t i = norms_.size(); i < activations.size(); ++i)
      norms_.push_back({activations[i], stats::Window(static_cast<std::size_t>(min_steps_))});
    if (record.values(Quantity::kRunningStatisticsGap).empty()) return;
    std::size_t level = 0;
    for (std::size_t i = 0; i < norms_.size(); ++i) {
      observe_norm(norms_[i], record, i);
      level += is_off(norms_[i]) ? 1 : 0;
    }
    alarm_.set(level);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    std::vector<Finding> findings;
    std::size_t steps = 0;
    std::int64_t last = 0;
    for (const Norm& norm : norms_) {
      steps = std::max(steps, norm.gaps.size());
      last = std::max(last, norm.last);
      if (is_off(norm)) findings.push_back(finding(norm));
    }
    if (!findings.empty()) return unhealthy(std::move(findings), most_);
    if (steps == 0) return NotEvaluated{"no batch normalisation with running statistics was recorded in training"};
    if (static_cast<double>(last - *first_step_) < run_length_)
      return NotEvaluated{fmt::format("running statistics need {:.0f} steps to settle, and were last seen at step {}",
                                      run_length_, last)};
    if (static_cast<double>(steps) < min_steps_) return too_few_steps(steps, min_steps_);
    return Healthy{};
  }

 private:
  struct Norm {
    Subject subject;
    stats::Window gaps;
    std::optional<std::int64_t> since = std::nullopt;  ///< The gap is as wide as that.
    std::optional<std::int64_t> first = std::nullopt;
    bool settled = false;  ///< The running statistics have once been those of a batch.
    std::int64_t last = 0;
  };

  void observe_norm(Norm& norm, const StepRecord& record, std::size_t index) const {
    const double gap = record.at(Quantity::kRunningStatisticsGap, index);
    if (!std::isfinite(gap)) return;
    norm.gaps.push(gap);
    norm.last = record.step;
    if (!norm.first) norm.first = record.step;
    norm.settled = norm.settled || gap <= unsettled_;
    if (gap > gap_ && !norm.since) norm.since = record.step;
    if (!(gap > gap_) && !(norm.gaps.median() > gap_)) norm.since.reset();
  }

  /// How long its averages had had to settle when they were last seen, which need not be the run's length.
  double settling(const Norm& norm) const { return static_cast<double>(norm.last - *first_step_); }

  bool is_wide(const Norm& norm) const {
    return norm.since && settling(norm) >= run_length_ && norm.gaps.full() && norm.gaps.median() > gap_;
  }

  /// Averages that do not move stay where they began, which need not be far from where they should be.
  bool never_settled(const Norm& norm) const {
    return norm.gaps.full() && settling(norm) >= 2 * run_length_ && !norm.settled && batch_ >= large_batch_;
  }

  bool is_off(const Norm& norm) const { return is_wide(norm) || never_settled(norm); }

  Finding finding(const Norm& norm) const {
    const double gap = norm.gaps.median();
    const bool never = never_settled(norm);
    const std::int64_t since = never ? *norm.first : *norm.since;
    Finding finding = new_finding(
        kId, Severity::kWarning, 0.7, ref(norm.subject), {since, norm.last},
        fmt::format(
            "The running mean and variance of {} are {} nats away from those of the batches (median over {:.0f} "
            "recorded steps){}: evaluation sees another network than training does.",
            norm.subject.name, number(gap), min_steps_,
            batch_ > 0 ? fmt::format(", with batches of {:.0f}", batch_) : ""));
    if (never) finding.message += " They have not come near them in any recorded step.";
    finding.evidence.push_back(evidence("divergence of running from batch statistics", gap, ">",
                                        never ? unsettled_ : gap_, Quantity::kRunningStatisticsGap, norm.subject.name));
    const bool settled_late = since > *first_step_ + static_cast<std::int64_t>(run_length_);
    Recommendation momentum;
    momentum.id = settled_late ? "lower-norm-momentum" : "raise-norm-momentum";
    momentum.text = settled_late ? "Average over more batches: give the normalisation a momentum of 0.01 (a guess)."
                    : never      ? "Let running statistics follow: LibTorch's momentum of 0.1 instead of a smaller one."
                                 : "Let running statistics follow: a momentum of 0.1 (a guess), and the training mode.";
    momentum.why =
        "momentum is the share of each batch in the running statistics: too small, they never arrive; too "
        "large, they are those of the last few batches.";
    momentum.code = fmt::format("torch::nn::BatchNorm2d norm(torch::nn::BatchNorm2dOptions({}).momentum({}));",
                                std::max<std::int64_t>(norm.subject.size, 1), settled_late ? "0.01" : "0.1");
    momentum.confidence = never ? 0.7 : 0.4;
    momentum.values = {{"momentum", {settled_late ? 0.01 : 0.1}}};
    Recommendation group;
    group.id = "use-group-norm";
    group.text = "With small or mixed batches, use group normalisation.";
    group.why = "It has no running statistics: training and evaluation compute the same.";
    const std::int64_t channels = std::max<std::int64_t>(norm.subject.size, 1);
    group.code = fmt::format("torch::nn::GroupNorm norm(torch::nn::GroupNormOptions({}, {}));",
                             channels % 8 == 0 ? channels / 8 : 1, channels);
    group.confidence = 0.6;
    if (batch_ > 0 && batch_ < 16)
      finding.recommendations = {std::move(group), std::move(momentum)};
    else
      finding.recommendations = {std::move(momentum), std::move(group)};
    return finding;
  }

  double gap_;
  double unsettled_;
  double large_batch_;
  double run_length_;
  double min_steps_;
  double most_;
  Alarm alarm_;
  std::vector<Norm> norms_;
  std::optional<std::int64_t> first_step_;
  double batch_ = 0;
};

}  // namespace

Rule batchnorm_statistics() {
  RuleInfo info;
  info.id = kId;
  info.title = "Running statistics do not fit";
  info.meaning =
      "Batch normalisation uses the batch's mean and variance in training and running averages in evaluation. If the "
      "two "
      "are far apart, a model that trains well evaluates badly.";
  info.method =
      "Kullback-Leibler divergence between normal distributions with the running and with the batch's mean and "
      "variance, "
      "mean over the channels, as the median of the last recorded steps. Judged only where they were seen after the "
      "averages had had time to settle; less far is enough where they never came near.";
  info.limits =
      "Batches of a few samples scatter around good averages by up to a nat. Warm restarts and domains that alternate "
      "from batch to batch widen the gap.";
  info.options = {
      {"gap", 2, "Divergence in nats.", "A mean two standard deviations off."},
      {"unsettled-gap", 0.3,
       "Divergence in nats of averages that never came nearer from the first step on, in runs of twice the length "
       "below.",
       "Ten times what batches of 32 have once the averages have settled."},
      {"large-batch", 16, "Samples from which batches are even enough for that.",
       "A sample's share of a batch's mean and variance; below 16 batches scatter by as much."},
      {"run-length", 100, "Steps after which averages must have been seen.",
       "The usual momentum of 0.1 forgets the start in 50."},
      min_steps_option(10),
      {"max-findings", 8, "Normalisations that get a finding of their own.", "What a person reads."},
  };
  info.references = {"Ioffe, Szegedy, Batch normalization, ICML 2015",
                     "Wu, Johnson, Rethinking batch in BatchNorm, 2021"};
  info.effects = {};
  return make_rule<BatchnormStatistics>(std::move(info));
}

}  // namespace gradhealth::rules
