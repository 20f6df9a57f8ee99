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
#include "rules/support/validation_loss.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "overfitting";

class Overfitting final : public Judge {
 public:
  explicit Overfitting(const RuleOptions& options)
      : rise_(options.at("rise")), persist_(options.at("persist")), values_(options.at("values")) {}

  void observe(const Run& run, const StepRecord& record) override {
    info_ = run.info;
    if (const double rate = record.at(Quantity::kLearningRate); std::isfinite(rate)) rate_ = rate;
    training_.push(record.at(Quantity::kLoss));
    const double value = validation_.observe(run, record);
    if (!std::isfinite(value)) return;
    ++count_;
    last_step_ = record.step;
    latest_ = value;
    if (std::isnan(start_)) start_ = value;
    if (!(value >= best_)) {
      best_ = value;
      best_step_ = record.step;
      training_then_ = training_.median();
      above_ = 0;
    } else {
      above_ = value > limit() ? above_ + 1 : 0;
    }
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (!validation_.known())
      return NotEvaluated{"no validation loss was recorded: monitor.record(\"val_loss\", value)"};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(count_) < values_)
      return NotEvaluated{fmt::format("needs {:.0f} values of {}, has {}", values_, validation_.name(), count_)};
    return Healthy{};
  }

 private:
  /// Losses near 0 or below it rise by shares of what was learnt.
  double limit() const { return best_ + rise_ * std::max(std::abs(best_), 0.1 * std::abs(start_ - best_)); }

  std::optional<Severity> severity() const {
    if (static_cast<double>(count_) < values_ || static_cast<double>(above_) < persist_) return std::nullopt;
    if (!(training_.median() < training_then_) || !is_minimized(info_)) return std::nullopt;
    return Severity::kWarning;
  }

  Finding finding() const {
    Finding finding =
        new_finding(kId, Severity::kWarning, 0.85, {{}, {}, validation_.name()}, {best_step_, last_step_}, {});
    finding.message = fmt::format(
        "{} was best at step {} with {} and has risen to {} since, while the training loss went on falling from {} to "
        "{}.",
        validation_.name(), best_step_, number(best_), number(latest_), number(training_then_),
        number(training_.median()));
    finding.evidence.push_back(
        evidence(validation_.name(), latest_, ">", limit(), Quantity::kNamedValue, validation_.name()));
    finding.evidence.push_back(evidence("training loss, against that at the best step", training_.median(), "<",
                                        training_then_, Quantity::kLoss));
    Recommendation stop;
    stop.id = "early-stop";
    stop.text = fmt::format("Keep the weights of the best validation, here of step {}, and stop when it has passed.",
                            best_step_);
    stop.why = "What is learnt afterwards holds for the training samples only.";
    stop.code =
        "static double best = std::numeric_limits<double>::infinity();\n"
        "// after each validation; loss: that of the validation data\n"
        "if (const double now = loss.item<double>(); now < best) {\n"
        "  best = now;\n"
        "  torch::save(net, \"best.pt\");\n"
        "}";
    stop.confidence = 0.8;
    stop.values = {{"best_step", {static_cast<double>(best_step_)}}, {"best", {best_}}};
    finding.recommendations.push_back(std::move(stop));
    finding.recommendations.push_back(add_weight_decay(info_.optimizer, rate_, info_.momentum));
    return finding;
  }

  double rise_;
  double persist_;
  double values_;
  RunInfo info_;
  ValidationLoss validation_;
  stats::Window training_{16};
  Alarm alarm_;
  std::size_t count_ = 0;
  std::size_t above_ = 0;
  double start_ = NAN;
  double best_ = NAN;
  double latest_ = NAN;
  double training_then_ = NAN;
  std::int64_t best_step_ = 0;
  std::int64_t last_step_ = 0;
  std::optional<double> rate_;
};

}  // namespace

Rule overfitting() {
  RuleInfo info;
  info.id = kId;
  info.title = "Validation loss rises";
  info.meaning =
      "The loss on data that the model is not trained on rises while the training loss falls: the model learns its "
      "samples by heart.";
  info.method =
      "Follows the value recorded as val_loss, valid_loss, validation_loss, test_loss, eval_loss or dev_loss (in any "
      "case, with any separators). A warning when at least the latest four of eight or more values are 20 % above the "
      "best one and the training loss is lower than it was then.";
  info.limits =
      "Cross entropy of a confident model may rise while its accuracy still does. Needs the validation loss recorded "
      "by "
      "name.";
  info.options = {
      {"rise", 0.2, "Rise over the best validation loss, relative to it.", "Twice SageMaker Debugger's 10 %."},
      {"persist", 4, "Latest values in a row that must be as high.", "UMLAUT: one epoch; noise of small sets."},
      {"values", 8, "Validation losses from which it is judged.", "A minimum and what follows."},
  };
  info.references = {"Prechelt, Early stopping, but when?, 1998", "Rasley et al., SageMaker Debugger, MLSys 2021"};
  return make_rule<Overfitting>(std::move(info));
}

}  // namespace gradhealth::rules
