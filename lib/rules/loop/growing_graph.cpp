#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"
#include "stats/history.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "growing-graph";

class GrowingGraph final : public Judge {
 public:
  explicit GrowingGraph(const RuleOptions& options)
      : graphs_(options.at("graphs")),
        steps_(options.at("steps")),
        slower_(options.at("slower")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run&, const StepRecord& record) override {
    // The first steps also allocate and warm caches up.
    if (const double time = record.at(Quantity::kStepTime); record.step >= 5 && time > 0) times_.push(time);
    const double alive = record.at(Quantity::kGraphsAlive);
    if (!std::isfinite(alive)) return;
    // Falling: something is let go of now and then.
    held_.add(alive >= graphs_ && !(alive < before_), record.step);
    if (alive > 0 && rising_since_ < 0) rising_since_ = record.step;
    if (!(alive > 0)) rising_since_ = -1;
    before_ = alive;
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (held_.judged == 0) return NotEvaluated{"the graphs of former steps were not watched"};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(held_.judged) < min_steps_) return too_few_steps(held_.judged, min_steps_);
    return Healthy{};
  }

 private:
  double slowdown() const { return times_.level(0.75, 1) / times_.level(0.25, 0.5); }

  bool gets_slower() const {
    return times_.count() >= 40 && slowdown() > slower_ && times_.level(0.5, 0.75) > times_.level(0.25, 0.5);
  }

  std::optional<Severity> severity() const {
    if (static_cast<double>(held_.streak) < steps_) return std::nullopt;
    return gets_slower() ? Severity::kError : Severity::kWarning;
  }

  Finding finding() const {
    const std::int64_t since = rising_since_ >= 0 ? rising_since_ : held_.streak_since;
    Finding finding = new_finding(kId, *severity(), 0.9, {}, {since, held_.last}, {});
    finding.message = fmt::format(
        "The autograd graphs of former steps are kept: {} of the latest recorded ones are still alive, at each of {} "
        "recorded steps. Memory grows with every step.",
        number(before_), held_.streak);
    finding.evidence.push_back(
        evidence("graphs of former recorded steps that are alive", before_, "≥", graphs_, Quantity::kGraphsAlive));
    if (gets_slower()) {
      finding.message += fmt::format(" Steps take {} times as long as before.", number(slowdown()));
      finding.evidence.push_back(
          evidence("time of a step, late over early", slowdown(), ">", slower_, Quantity::kStepTime));
    }
    Recommendation advice;
    advice.id = "detach-loss";
    advice.text =
        "Keep numbers, not tensors: take loss.item() for sums, and detach() what is carried to the next step.";
    advice.why = "A tensor that was computed from the loss or a hidden state holds all that it was computed from.";
    advice.code =
        "static double total = 0;\n"
        "total += loss.item<double>();  // not: total += loss\n"
        "// a recurrent state that goes on into the next step: state = state.detach();";
    advice.confidence = 0.9;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double graphs_;
  double steps_;
  double slower_;
  double min_steps_;
  stats::History times_{64};
  Alarm alarm_;
  Tally held_;
  double before_ = NAN;
  std::int64_t rising_since_ = -1;
};

}  // namespace

Rule growing_graph() {
  RuleInfo info;
  info.id = kId;
  info.title = "Graphs of former steps are kept";
  info.meaning =
      "Something holds on to the loss or to a state of each step, and with it to the whole graph that it was computed "
      "by: total += loss, a vector of losses, a hidden state that is not detached. Memory grows until it is used up, "
      "and "
      "where backward goes through the old graphs too, every step takes longer than the last.";
  info.method =
      "Of the graphs of the latest 20 recorded steps at least 10 are alive, at 20 recorded steps in a row, and their "
      "number does not fall. A warning; an error when steps get slower as well.";
  info.limits =
      "Losses that are kept for one epoch and then dropped look the same until the epoch ends. Agents that keep whole "
      "episodes let go of them at the update.";
  info.options = {
      {"graphs", 10, "Graphs of the latest 20 recorded steps that are alive.", "Half of those that are watched."},
      {"steps", 20, "Recorded steps in a row with as many.", "Longer than usual truncated backpropagation."},
      {"slower", 1.3, "Time of a step in the last quarter over that in the second.", "Beyond what machines waver by."},
      min_steps_option(20),
  };
  info.references = {"PyTorch documentation, frequently asked questions: my model reports out of memory"};
  return make_rule<GrowingGraph>(std::move(info));
}

}  // namespace gradhealth::rules
