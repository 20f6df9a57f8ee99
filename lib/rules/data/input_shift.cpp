#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/operators.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"
#include "stats/moments.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "input-shift";
constexpr std::size_t kLosses = 8;      ///< Compared before and after the shift.
constexpr std::size_t kFeatures = 256;  ///< Enough of them for a level, spread over all.
constexpr double kAbrupt = 0.75;        ///< Share of the shift that is there within as many recorded steps.

class InputShift final : public Judge {
 public:
  explicit InputShift(const RuleOptions& options)
      : deviations_(options.at("deviations")),
        size_(options.at("size")),
        rise_(options.at("loss-rise")),
        steps_(options.at("steps")),
        mean_{stats::Window(window()), stats::Window(window()), stats::Window(kLosses)},
        spread_{stats::Window(window()), stats::Window(window()), stats::Window(kLosses)} {}

  void observe(const Run& run, const StepRecord& record) override {
    const std::vector<Subject>& features = run.of(Axis::kFeature);
    if (features.empty()) return;
    consumer_ = features[0].kind;
    minimized_ = is_minimized(run.info);
    const stats::Moments batch = pool(features, record);
    if (!(batch.weight() > 0)) return;
    ++count_;
    last_step_ = record.step;
    observe_loss(record.at(Quantity::kLoss));
    if (!mean_.early.full()) {
      mean_.early.push(batch.mean());
      spread_.early.push(batch.deviation());
      return;
    }
    mean_.late.push(batch.mean());
    spread_.late.push(batch.deviation());
    const double unit = spread_.early.median();
    observe_onset(batch.mean(), batch.deviation(),
                  std::abs(batch.mean() - mean_.early.median()) > size_ * unit / 2 ||
                      std::abs(batch.deviation() - unit) > size_ * unit / 2,
                  record.step);
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (count_ == 0) return NotEvaluated{"no statistics of the input were recorded"};
    if (is_embedding(consumer_)) return NotEvaluated{"the input are indices into an embedding, which have no level"};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(count_) < 2 * steps_) return too_few_steps(count_, 2 * steps_);
    return Healthy{};
  }

 private:
  struct Level {
    stats::Window early;
    stats::Window late;
    stats::Window soon;  ///< Right after the change began.

    double shift() const { return std::abs(late.median() - early.median()); }
    /// Batch noise on the quieter side hides nothing of what the other side does.
    double noise() const { return std::sqrt((std::pow(early.sigma(), 2) + std::pow(late.sigma(), 2)) / 2); }
  };

  std::size_t window() const { return static_cast<std::size_t>(std::clamp(steps_, 4.0, 1e4)); }

  static stats::Moments pool(const std::vector<Subject>& features, const StepRecord& record) {
    stats::Moments pooled;
    for (std::size_t i = 0; i < features.size(); i += 1 + features.size() / kFeatures)
      pooled.add_group(static_cast<double>(std::max<std::int64_t>(features[i].size, 1)),
                       record.at(Quantity::kInputMean, i), record.at(Quantity::kInputStd, i));
    return pooled;
  }

  void observe_loss(double loss) {
    if (!since_) before_.push(loss);
    if (since_ && !after_.full()) after_.push(loss);
  }

  void observe_onset(double mean, double deviation, bool away, std::int64_t step) {
    if (away && !since_) {
      since_ = step;
      after_.clear();
      mean_.soon.clear();
      spread_.soon.clear();
    }
    if (since_ && !mean_.soon.full()) {
      mean_.soon.push(mean);
      spread_.soon.push(deviation);
    }
    if (!away && since_ && !shifted()) {
      since_.reset();
    }
  }

  bool is_shift(const Level& level) const {
    return level.late.full() && level.shift() > deviations_ * level.noise() &&
           level.shift() > size_ * spread_.early.median();
  }

  bool shifted() const { return is_shift(mean_) || is_shift(spread_); }

  /// At once, as when a switch is thrown; data of a generator or an agent drift.
  bool abrupt(const Level& level) const {
    return std::abs(level.soon.median() - level.early.median()) > kAbrupt * level.shift();
  }

  double loss_rise() const {
    const double unit = std::max(rise_ * std::abs(before_.median()), 3 * before_.sigma());
    return (after_.median() - before_.median()) / unit;
  }

  std::optional<Severity> severity() const {
    if (is_embedding(consumer_) || !since_ || !shifted()) return std::nullopt;
    return minimized_ && after_.full() && loss_rise() > 1 && abrupt(is_shift(mean_) ? mean_ : spread_)
               ? Severity::kWarning
               : Severity::kInfo;
  }

  Finding finding() const {
    const bool of_mean = is_shift(mean_);
    const Level& level = of_mean ? mean_ : spread_;
    const std::string what = of_mean ? "mean" : "standard deviation";
    Finding finding = new_finding(kId, *severity(), 0.8, {}, {*since_, last_step_}, {});
    finding.message = fmt::format(
        "The {} of the input went from {} to {} at step {} and stayed there; batches differ by {} among themselves.",
        what, number(level.early.median()), number(level.late.median()), *since_, number(level.noise()));
    finding.evidence.push_back(evidence("change of the input's " + what + " in standard deviations of the input",
                                        level.shift() / spread_.early.median(), ">", size_,
                                        of_mean ? Quantity::kInputMean : Quantity::kInputStd));
    if (*severity() == Severity::kWarning) {
      finding.message +=
          fmt::format(" With it the loss rose from {} to {}.", number(before_.median()), number(after_.median()));
      finding.evidence.push_back(evidence("loss after the change, before it the threshold", after_.median(), ">",
                                          before_.median(), Quantity::kLoss));
    }
    Recommendation advice;
    advice.id = "check-loader";
    advice.text = fmt::format(
        "Find what changed in the loader at step {}; the batches before and after must be made alike.", *since_);
    advice.why =
        "A transform that is switched on or off, another source of data or a second normalisation makes the model "
        "learn "
        "anew; a schedule of the data that is meant needs no change.";
    advice.code = fmt::format(
        "// fails at the batch that is unlike those before:\n"
        "TORCH_CHECK(std::abs(batch.data.to(torch::kFloat32).mean().item<double>() - {0}) < {1},\n"
        "            \"the input's mean has left {0}\");",
        literal(mean_.early.median()), literal(std::max(size_ * spread_.early.median(), 1e-12)));
    advice.confidence = 0.6;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double deviations_;
  double size_;
  double rise_;
  double steps_;
  Level mean_;
  Level spread_;
  stats::Window before_{kLosses};
  stats::Window after_{kLosses};
  Alarm alarm_;
  std::string consumer_;
  bool minimized_ = true;
  std::size_t count_ = 0;
  std::optional<std::int64_t> since_;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule input_shift() {
  RuleInfo info;
  info.id = kId;
  info.title = "Input changes its level";
  info.meaning =
      "From some step on the model is fed with data of another mean or scale, and stays so. What it had learnt about "
      "the "
      "input's size is wrong from then on.";
  info.method =
      "Compares the pooled mean and standard deviation of the first 30 recorded batches with those of the latest 30, "
      "by "
      "medians. A change for good is one of more than 8 standard deviations of the batches' own level and of more than "
      "half a standard deviation of the input. A warning if it is abrupt and the loss rises along with it, else "
      "information.";
  info.limits =
      "Curricula and schedules of augmentation shift on purpose; the inputs of agents and of adversaries do so by "
      "nature. A single feature's shift among many is not seen.";
  info.options = {
      {"deviations", 8, "Change of the level, in robust standard deviations of the batches' levels.",
       "Medians of 30 batches scatter by a quarter of one."},
      {"size", 0.5, "Change of the level, in standard deviations of the input.",
       "Less than that, norm layers and biases take up without notice."},
      {"loss-rise", 0.3, "Rise of the loss over the 8 recorded steps after the change, relative to its level before.",
       "Beyond what single batches do."},
      {"steps", 30, "Recorded steps on each side.", "A median that single batches do not move."},
  };
  info.references = {"Rabanser et al., Failing loudly: methods for detecting dataset shift, 2019"};
  info.effects = {{"diverging-loss"}, {"exploding-gradient"}, {"loss-spike"}, {"dead-units"}};
  return make_rule<InputShift>(std::move(info));
}

}  // namespace gradhealth::rules
