#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "stats/robust.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "rank-divergence";
constexpr std::size_t kWindow = 20;   ///< Recorded steps: longer than an uneven last batch.
constexpr std::size_t kSilence = 10;  ///< Recorded steps without a rank.
constexpr double kSilentSeconds = 5;  ///< Files of running processes are a moment apart.
constexpr double kLossUnit = 0.05;    ///< Of the median loss: ranks see different samples.
constexpr double kNormUnit = 0.2;     ///< Of the logarithm.

/// How far each rank is from the middle of all, over the latest steps; less than a unit is nothing.
class Spread {
 public:
  /// @param values of all ranks; not finite where one has none. @param unit of distances, given the middle.
  template <class Unit>
  void observe(const std::vector<double>& values, const Unit& unit) {
    now_.clear();
    for (const double value : values)
      if (std::isfinite(value)) now_.push_back(value);
    if (now_.size() < 2) return;
    const double middle = stats::median_in_place(now_.data(), now_.size());
    const double one = unit(middle);
    while (ranks_.size() < values.size()) ranks_.emplace_back(kWindow);
    for (std::size_t i = 0; i < values.size(); ++i) ranks_[i].push((values[i] - middle) / one);
    // Of two ranks each is as far from the middle as the other: only the course of time tells what is usual.
    if (now_.size() > 2) {
      for (double& value : now_) value = std::abs(value - middle) / one;
      usual_.push(stats::median_in_place(now_.data(), now_.size()));
    }
    if (std::isfinite(before_)) changes_.push(std::abs(middle - before_) / one);
    before_ = middle;
  }

  /// In units of what is usual; 0 while too little is known.
  double of(std::size_t rank) const {
    if (rank >= ranks_.size() || !ranks_[rank].full() || changes_.size() + 1 < kWindow) return 0;
    const double usual = usual_.size() == 0 ? 0 : usual_.median();
    return ranks_[rank].median() / std::max({usual, changes_.median(), 1.0});
  }
  std::size_t ranks() const { return ranks_.size(); }

 private:
  std::vector<stats::Window> ranks_;
  stats::Window usual_{kWindow};
  stats::Window changes_{kWindow};
  std::vector<double> now_;
  double before_ = NAN;
};

class RankDivergence final : public Judge {
 public:
  explicit RankDivergence(const RuleOptions& options)
      : deviation_(options.at("deviation")), min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    const std::vector<double>& nonfinite = record.values(Quantity::kRankNonfinite);
    world_size_ = run.of(Axis::kRank).size();
    if (world_size_ < 2) return;
    const auto present = static_cast<std::size_t>(
        std::count_if(nonfinite.begin(), nonfinite.end(), [](double flag) { return !std::isnan(flag); }));
    if (present == 0) return;
    last_ = record.step;
    observe_presence(nonfinite, record);
    if (present < 2) return;
    ++compared_;
    observe_nonfinite(nonfinite, present, record.step);
    losses_.observe(record.values(Quantity::kRankLoss), [](double middle) { return kLossUnit * std::abs(middle); });
    logarithms_.clear();
    for (const double norm : record.values(Quantity::kRankGradientNorm))
      logarithms_.push_back(norm > 0 ? std::log(norm) : NAN);
    norms_.observe(logarithms_, [](double) { return kNormUnit; });
    find_deviation(record.step);
    alarm_.set((bad_ ? 1 : 0) + (deviating_ ? 1 : 0) + silent_ranks().size());
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (compared_ == 0) return NotEvaluated{"no other rank was recorded"};
    std::vector<Finding> findings;
    if (bad_) findings.push_back(nonfinite_finding());
    if (deviating_) findings.push_back(deviation_finding());
    for (const std::size_t rank : silent_ranks()) findings.push_back(silence_finding(rank));
    if (!findings.empty()) return unhealthy(std::move(findings));
    if (static_cast<double>(compared_) < min_steps_) return too_few_steps(compared_, min_steps_);
    return Healthy{};
  }

 private:
  struct Presence {
    std::size_t missed = 0;  ///< Recorded steps since it was seen.
    std::int64_t last_step = -1;
    double last_time = 0;
  };
  struct Bad {
    std::int64_t step = 0;
    std::vector<std::string> ranks;
    bool in_loss = false;
    std::size_t first = 0;
  };
  struct Deviating {
    std::size_t rank = 0;
    bool in_loss = false;
    double size = 0;
    std::int64_t since = 0;
  };

  static std::string rank_name(std::size_t rank) { return fmt::format("rank {}", rank); }

  void observe_presence(const std::vector<double>& nonfinite, const StepRecord& record) {
    presence_.resize(world_size_);
    time_ = record.wall_time;
    for (std::size_t i = 0; i < world_size_; ++i) {
      if (i < nonfinite.size() && !std::isnan(nonfinite[i]))
        presence_[i] = {0, record.step, record.wall_time};
      else
        ++presence_[i].missed;
    }
  }

  std::vector<std::size_t> silent_ranks() const {
    std::vector<std::size_t> silent;
    for (std::size_t i = 0; i < presence_.size(); ++i)
      // Of one that was never seen, there may just be no file here.
      if (presence_[i].last_step >= 0 && presence_[i].missed >= kSilence &&
          time_ - presence_[i].last_time > kSilentSeconds)
        silent.push_back(i);
    return silent;
  }

  void observe_nonfinite(const std::vector<double>& nonfinite, std::size_t present, std::int64_t step) {
    if (bad_ || all_bad_) return;
    // A rank whose own loss is bad spoils everybody's gradients where they are reduced before they are recorded.
    for (const double level : {2.0, 1.0}) {
      Bad bad;
      bad.step = step;
      bad.in_loss = level == 2;
      for (std::size_t i = 0; i < nonfinite.size(); ++i) {
        if (!(nonfinite[i] >= level)) continue;
        if (bad.ranks.empty()) bad.first = i;
        bad.ranks.push_back(rank_name(i));
      }
      if (bad.ranks.empty()) continue;
      if (2 * bad.ranks.size() <= present)
        bad_ = std::move(bad);
      else
        all_bad_ = true;  // Not one rank's fault; and from now on nothing can be told any more.
      return;
    }
  }

  void find_deviation(std::int64_t step) {
    if (deviating_ || all_bad_ || bad_) return;
    for (const bool in_loss : {true, false}) {
      const Spread& spread = in_loss ? losses_ : norms_;
      std::size_t worst = 0;
      for (std::size_t i = 1; i < spread.ranks(); ++i)
        if (std::abs(spread.of(i)) > std::abs(spread.of(worst))) worst = i;
      // The first of two: whichever stands out, it is both of them.
      if (spread.ranks() > 0 && std::abs(spread.of(worst)) > deviation_) {
        deviating_ = Deviating{spread.ranks() == 2 ? 1 : worst, in_loss, spread.of(worst), step};
        return;
      }
    }
  }

  Finding nonfinite_finding() const {
    const char* what = bad_->in_loss ? "loss" : "gradient";
    Finding finding =
        new_finding(kId, Severity::kError, 0.95, {"", "", rank_name(bad_->first)}, {bad_->step, last_}, {});
    finding.message = fmt::format("At step {} the {} of {} was not finite, and that of the other ranks was.",
                                  bad_->step, what, list_of(bad_->ranks, 4));
    finding.evidence.push_back(evidence(fmt::format("ranks with a {} that is not finite", what),
                                        static_cast<double>(bad_->ranks.size()), ">", 0, Quantity::kRankNonfinite,
                                        rank_name(bad_->first)));
    finding.recommendations = {look_at_batch(bad_->first, 0.9)};
    return finding;
  }

  Finding deviation_finding() const {
    const Deviating& found = *deviating_;
    const char* what = found.in_loss ? "loss" : "gradient norm";
    Finding finding =
        new_finding(kId, Severity::kWarning, 0.7, {"", "", rank_name(found.rank)}, {found.since, last_}, {});
    finding.message =
        presence_.size() == 2
            ? fmt::format("The {} of the two ranks lies apart, by {} times what it changes by from step to step.", what,
                          number(std::abs(found.size)))
            : fmt::format("The {} of {} lies {} that of the other ranks, by {} times what is usual between them.", what,
                          rank_name(found.rank), found.size > 0 ? "above" : "below", number(std::abs(found.size)));
    finding.evidence.push_back(evidence(
        fmt::format("distance of the {} from the median rank's, in usual distances", what), std::abs(found.size), ">",
        deviation_, found.in_loss ? Quantity::kRankLoss : Quantity::kRankGradientNorm, rank_name(found.rank)));
    finding.recommendations = {look_at_batch(found.rank, 0.6)};
    return finding;
  }

  Finding silence_finding(std::size_t rank) const {
    const Presence& seen = presence_[rank];
    Finding finding = new_finding(kId, Severity::kError, 0.8, {"", "", rank_name(rank)}, {seen.last_step, last_}, {});
    finding.message = fmt::format("R{} was last seen at step {}, {} s before the others' last step {}.",
                                  rank_name(rank).substr(1), seen.last_step, number(time_ - seen.last_time), last_);
    finding.evidence.push_back(evidence("recorded steps without this rank", static_cast<double>(seen.missed), "≥",
                                        static_cast<double>(kSilence), Quantity::kRankNonfinite, rank_name(rank)));
    Recommendation advice;
    advice.id = "look-at-process";
    advice.text = fmt::format("Look at the log of {}: its process has ended, or waits for something.", rank_name(rank));
    advice.why = "The training of the others goes on without its gradients, or will wait for them for ever.";
    advice.code =
        "// A reduction that throws when a process is gone ends the training everywhere: do not catch it.\n"
        "for (torch::Tensor& parameter : net->parameters()) {\n"
        "  std::vector<torch::Tensor> one{parameter.grad()};\n"
        "  process_group->allreduce(one)->wait(std::chrono::seconds(60));\n"
        "}";
    advice.confidence = 0.8;
    finding.recommendations = {advice};
    return finding;
  }

  static Recommendation look_at_batch(std::size_t rank, double confidence) {
    Recommendation advice;
    advice.id = "look-at-rank-data";
    advice.text =
        fmt::format("Look at what {} trains on: its part of the data, and how it is prepared.", rank_name(rank));
    advice.why = "Ranks run the same program with the same weights; what differs is their data, or the machine.";
    advice.code = fmt::format(
        "// On {}: what the batch holds at this step.\n"
        "std::cerr << \"finite: \" << torch::isfinite(batch.data).all().item<bool>()\n"
        "          << \" mean: \" << batch.data.to(torch::kFloat).mean().item<float>()\n"
        "          << \" deviation: \" << batch.data.to(torch::kFloat).std().item<float>() << '\\n';",
        rank_name(rank));
    advice.confidence = confidence;
    return advice;
  }

  double deviation_;
  double min_steps_;
  Alarm alarm_;
  std::size_t world_size_ = 0;
  std::size_t compared_ = 0;
  std::int64_t last_ = 0;
  double time_ = 0;
  std::vector<Presence> presence_;
  std::optional<Bad> bad_;
  bool all_bad_ = false;
  std::optional<Deviating> deviating_;
  Spread losses_;
  Spread norms_;
  std::vector<double> logarithms_;
};

}  // namespace

Rule rank_divergence() {
  RuleInfo info;
  info.id = kId;
  info.title = "One rank differs from the others";
  info.meaning =
      "One process of a data-parallel training sees something else than the rest: a loss that is not finite, a loss or "
      "a "
      "gradient of another size, or nothing any more. Its gradients go into everybody's update.";
  info.method =
      "The ranks' losses and gradient norms are compared step by step. An error: at the first step at which any is not "
      "finite, at most half of the ranks are concerned; or a rank is missing for ten recorded steps and five seconds. "
      "A "
      "warning: over 20 recorded steps, a rank's median distance from the median rank is five times what is usual "
      "between ranks and from step to step, and a quarter of the loss or a factor e of the gradient norm.";
  info.limits =
      "Ranks with data of different kinds on purpose. An uneven last batch is too short to count. Of two ranks it "
      "cannot "
      "be told which one is wrong.";
  info.options = {
      {"deviation", 5, "Distance from the median rank over what is usual.", "Five standard deviations and more."},
      min_steps_option(20),
  };
  info.references = {"Megatron-LM: rerun state machine, which tells a rank's transient faults from persistent ones"};
  info.effects = {{"nonfinite-loss"},       {"nonfinite-gradient"}, {"nonfinite-weight"},
                  {"nonfinite-activation"}, {"diverging-loss"},     {"loss-spike"}};
  return make_rule<RankDivergence>(std::move(info));
}

}  // namespace gradhealth::rules
