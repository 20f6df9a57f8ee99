#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_advice.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_operators.h"
#include "rules/support/loss_track.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "double-softmax";

class DoubleSoftmax final : public Judge {
 public:
  explicit DoubleSoftmax(const RuleOptions& options)
      : margin_(options.at("margin")),
        below_(options.at("below")),
        rounding_(options.at("rounding")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    minimized_ = is_minimized(run.info);
    if (steps_ == 0) first_step_ = record.step;
    loss_.observe(record);
    operators_.observe(record);
    if (const double classes = record.at(Quantity::kTargetClasses); classes >= 2) classes_ = classes;
    if (const double least = record.at(Quantity::kPredictionMin); std::isfinite(least)) {
      const double mean = record.at(Quantity::kPredictionMean);
      const double most = record.at(Quantity::kPredictionMax);
      distributions_.add(least >= 0 && most <= 1 + rounding_ && std::abs(mean * classes_ - 1) <= rounding_,
                         record.step);
    }
    if (!operators_.known() || std::isnan(record.at(Quantity::kLoss))) return;
    ++steps_;
    last_step_ = record.step;
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (steps_ == 0) return NotEvaluated{"neither a loss operator nor a loss was recorded"};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    return Healthy{};
  }

 private:
  const LossOperator* cross_entropy() const {
    const LossOperator* found = nullptr;
    for (const LossOperator& each : operators_.all()) {
      if (each.name != "cross_entropy_loss") continue;
      if (each.produced_by == "softmax") return &each;
      if (found == nullptr) found = &each;
    }
    return found;
  }

  enum class Sign { kNone, kOperator, kDistributions, kFloor };
  Sign sign() const {
    const LossOperator* loss = cross_entropy();
    if (loss == nullptr) return Sign::kNone;
    if (loss->produced_by == "softmax") return Sign::kOperator;
    if (distributions_.judged > 0)
      return static_cast<double>(distributions_.seen) >= min_steps_ && distributions_.share() == 1
                 ? Sign::kDistributions
                 : Sign::kNone;
    return rests_on_floor() ? Sign::kFloor : Sign::kNone;
  }

  /// What a softmax of probabilities costs when the right class has probability 1.
  double floor() const { return std::log(1 + (classes_ - 1) * std::exp(-1.0)); }

  bool rests_on_floor() const {
    if (operators_.only() == nullptr || !minimized_ || static_cast<double>(loss_.count()) < 3 * min_steps_)
      return false;
    const double before = loss_.level(0.5, 0.75);
    const double last = loss_.level(0.75, 1);
    return std::abs(last / floor() - 1) < margin_ && std::abs(before - last) < margin_ / 2 * last && loss_.fell_by(0.1);
  }

  std::optional<Severity> severity() const {
    const Sign now = sign();
    if (now == Sign::kNone) return std::nullopt;
    // On the loss's value alone, other floors may lie at the same place.
    if (now == Sign::kFloor) return Severity::kInfo;
    if (static_cast<double>(loss_.count()) < min_steps_ || !minimized_) return Severity::kWarning;
    return loss_.recent() < below_ * floor() ? Severity::kWarning : Severity::kError;
  }

  Finding finding() const {
    const LossOperator& loss = *cross_entropy();
    LossOperator twice = loss;
    twice.produced_by = "softmax";
    const Sign now = sign();
    Finding finding = new_finding(kId, *severity(), now == Sign::kFloor ? 0.4 : 0.95, {{}, {}, loss.subject},
                                  {now == Sign::kOperator ? loss.step : first_step_, last_step_}, {});
    finding.message = now == Sign::kOperator
                          ? fmt::format("A softmax enters {}, which is a softmax and a logarithm itself.", loss.name)
                      : now == Sign::kDistributions
                          ? fmt::format(
                                "What enters {} are probabilities: from 0 to 1 with mean 1/{:.0f} in all {} recorded "
                                "steps. The loss takes their softmax once more.",
                                loss.name, classes_, distributions_.seen)
                          : fmt::format("The loss rests where a softmax of probabilities has its floor.");
    if (!std::isnan(classes_)) {
      finding.message += fmt::format(" With {:.0f} classes such a loss cannot fall below {}; it is {}{}.", classes_,
                                     number(floor()), number(loss_.recent()),
                                     loss_.recent() < below_ * floor() ? ", so that its classes are weighted" : "");
      finding.evidence.push_back(evidence("loss, against the floor of a double softmax", loss_.recent(), "≥",
                                          below_ * floor(), Quantity::kLoss));
    }
    if (now == Sign::kOperator)
      finding.evidence.push_back(
          evidence("step at which a softmax was seen to enter the loss", static_cast<double>(loss.step), "≥", 0));
    if (now == Sign::kDistributions)
      finding.evidence.push_back(evidence("share of the recorded steps with probabilities as predictions",
                                          distributions_.share(), "=", 1, Quantity::kPredictionMax));
    Recommendation advice = pass_logits(twice);
    if (now == Sign::kFloor) {
      advice.text += " That it does so is a guess from the loss alone.";
      advice.confidence = 0.4;
    }
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double margin_;
  double below_;
  double rounding_;
  double min_steps_;
  LossTrack loss_;
  LossOperators operators_;
  Alarm alarm_;
  Tally distributions_;
  bool minimized_ = true;
  double classes_ = NAN;
  std::size_t steps_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule double_softmax() {
  RuleInfo info;
  info.id = kId;
  info.title = "Softmax is applied twice";
  info.meaning =
      "The model ends in a softmax, and cross entropy applies another one. Probabilities differ by at most 1, so the "
      "second softmax is nearly flat: the loss cannot fall below ln(1 + (k - 1)/e), which is 1.46 for ten classes, "
      "gradients are small, and learning is slow.";
  info.method =
      "A softmax is seen to make what cross_entropy_loss takes, or all predictions lie between 0 and 1 with mean 1/k. "
      "An "
      "error, unless the loss lies far below the floor, which then does not hold: a warning. Where predictions are not "
      "recorded, a loss that came to rest within 2 % of the floor is information.";
  info.limits =
      "A softmax that something else follows before the loss is recognised by the predictions only. Class weights and "
      "label smoothing move the floor.";
  info.options = {
      {"margin", 0.02, "Distance from the floor within which a loss rests on it, relative.",
       "Batch noise of a settled loss."},
      {"below", 0.95, "Loss over the floor below which there cannot be a second softmax.", "Batch noise."},
      {"rounding", 0.01, "Deviation of the predictions' mean from 1/k, relative.", "Half precision."},
      min_steps_option(10),
  };
  info.references = {"Schoop et al., UMLAUT, CHI 2021", "PyTorch documentation, torch.nn.CrossEntropyLoss"};
  info.effects = {{"collapsed-output"}, {"no-better-than-constant"}, {"plateaued-loss"}, {"vanishing-gradient"}};
  return make_rule<DoubleSoftmax>(std::move(info));
}

}  // namespace gradhealth::rules
