#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_track.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "unbounded-loss";
constexpr std::size_t kDeepSteps = 2;  ///< In a row; one is an accident.

struct Point {
  std::int64_t step = 0;
  double loss = 0;
};

/// A series in bounded memory: every point at first, then every second one, every fourth, and the latest.
class Course {
 public:
  void add(Point point) {
    latest_ = point;
    if (count_++ % stride_ != 0) return;
    if (kept_.size() == kMost) {
      for (std::size_t i = 0; i < kMost / 2; ++i) kept_[i] = kept_[2 * i];
      kept_.resize(kMost / 2);
      stride_ *= 2;
    }
    kept_.push_back(point);
  }

  double latest() const { return latest_.loss; }
  /// Fall per step between two fractions (0 … 1) of the steps; NaN if no time lies between.
  double fall(double from, double to) const {
    const Point a = at(from);
    const Point b = at(to);
    return b.step > a.step ? (a.loss - b.loss) / static_cast<double>(b.step - a.step) : NAN;
  }

 private:
  static constexpr std::size_t kMost = 128;

  Point at(double fraction) const {
    if (kept_.empty() || fraction >= 1) return latest_;
    const double step =
        static_cast<double>(kept_.front().step) + fraction * static_cast<double>(latest_.step - kept_.front().step);
    const auto found = std::find_if(kept_.begin(), kept_.end(),
                                    [&](const Point& point) { return static_cast<double>(point.step) >= step; });
    return found == kept_.end() ? latest_ : *found;
  }

  std::vector<Point> kept_;
  Point latest_;
  std::size_t stride_ = 1;
  std::size_t count_ = 0;
};

class UnboundedLoss final : public Judge {
 public:
  explicit UnboundedLoss(const RuleOptions& options)
      : fall_(options.at("fall")), pace_(options.at("pace")), min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    declared_ = run.info.loss_kind == "adversarial" || run.info.loss_kind == "reinforcement";
    loss_.observe(record);
    if (std::isnan(loss_.latest())) return;
    course_.add({record.step, loss_.latest()});
    last_step_ = record.step;
    const bool deep = loss_.latest() < limit();
    if (deep && deep_steps_ == 0) since_ = record.step;
    deep_steps_ = deep ? deep_steps_ + 1 : 0;
    alarm_.set(goes_on() ? 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (goes_on()) return unhealthy({finding()});
    if (!loss_.recorded()) return NotEvaluated{"no loss was recorded"};
    if (static_cast<double>(loss_.count()) < min_steps_) return too_few_steps(loss_.count(), min_steps_);
    return Healthy{};
  }

 private:
  double limit() const { return -fall_ * std::max(std::abs(loss_.start()), 1.0); }

  /// Of the last third of the steps over the third before; NaN if the loss did not fall then.
  double pace() const {
    const double before = course_.fall(1 / 3.0, 2 / 3.0);
    return before > 0 ? course_.fall(2 / 3.0, 1) / before : NAN;
  }

  bool goes_on() const {
    return !declared_ && deep_steps_ >= kDeepSteps && static_cast<double>(loss_.count()) >= min_steps_ &&
           pace() >= pace_;
  }

  Finding finding() const {
    Finding finding = new_finding(
        kId, Severity::kError, 0.85, {}, {since_, last_step_},
        fmt::format(
            "The loss has fallen from {} to {} and does not slow down: in the last third of the steps it falls {} "
            "times as fast as in the third before. It has no lowest value, so that training it makes outputs and "
            "weights ever larger.",
            number(loss_.start()), number(course_.latest()), number(pace())));
    finding.evidence.push_back(evidence("loss", course_.latest(), "<", limit(), Quantity::kLoss));
    finding.evidence.push_back(evidence("fall per step in the last third, over that in the third before", pace(), "≥",
                                        pace_, Quantity::kLoss));
    Recommendation advice;
    advice.id = "bound-loss-terms";
    advice.text =
        "Record each term of the loss by itself: the one that falls is subtracted where it should be added, or is "
        "given values that it is not made for.";
    advice.why =
        "A term that rewards large outputs, such as a divergence, a penalty or an error with a minus in front, wins "
        "over all others as soon as the model has found it.";
    advice.code =
        "// for each term before they are added, `loss` being the term:\n"
        "monitor.record(\"first_term\", loss.item<double>());";
    advice.confidence = 0.6;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double fall_;
  double pace_;
  double min_steps_;
  LossTrack loss_;
  Course course_;
  Alarm alarm_;
  bool declared_ = false;
  std::size_t deep_steps_ = 0;  ///< Latest ones in a row.
  std::int64_t since_ = 0;      ///< The first of them.
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule unbounded_loss() {
  RuleInfo info;
  info.id = kId;
  info.title = "Loss falls without end";
  info.meaning =
      "The loss is far below zero and falls ever faster. Something in it is rewarded without limit: a term with the "
      "wrong sign, or one given values outside its domain. It looks like progress until the numbers overflow.";
  info.method =
      "The loss has fallen to a thousand times its start's size below zero (at least -1000), and in the last third of "
      "the steps it falls at least as fast as in the third before. Negative log-densities slow down instead.";
  info.limits =
      "Losses declared adversarial or reinforcement are not judged. Where the operator tells that a sign was turned or "
      "targets are out of range, those rules are the cause.";
  info.options = {
      {"fall", 1000, "Multiple of the start's size, at least 1, below zero.",
       "Sums of log-densities start and end within the same few orders of magnitude."},
      {"pace", 1, "Fall per step in the last third of the steps, over that in the third before.",
       "Losses with a lowest value slow down: 1/3 in an exponential approach."},
      min_steps_option(20),
  };
  info.references = {"Kingma, Welling, Auto-encoding variational Bayes, 2014", "Zhang et al., AUTOTRAINER, ICSE 2021"};
  info.effects = {{"update-too-large"}, {"growing-weight"},     {"exploding-gradient"},   {"exploding-activation"},
                  {"diverging-loss"},   {"nonfinite-loss"},     {"nonfinite-gradient"},   {"nonfinite-activation"},
                  {"nonfinite-weight"}, {"dead-units"},         {"saturated-activation"}, {"nonfinite-optimizer-state"},
                  {"zero-gradient"},    {"vanishing-gradient"}, {"half-precision-range"}};
  return make_rule<UnboundedLoss>(std::move(info));
}

}  // namespace gradhealth::rules
