#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/persistence.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "wrong-mode";

class WrongMode final : public Judge {
 public:
  explicit WrongMode(const RuleOptions& options)
      : share_(options.at("share")),
        steps_(options.at("steps")),
        norms_{Persistence(steps_, share_)},
        dropouts_{Persistence(steps_, share_)} {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    const bool norms =
        observe_mode(norms_, record.at(Quantity::kNormsTraining), record.at(Quantity::kNormsEvaluation), record.step);
    const bool dropouts = observe_mode(dropouts_, record.at(Quantity::kDropoutsTraining),
                                       record.at(Quantity::kDropoutsEvaluation), record.step);
    if (!norms && !dropouts) return;
    ++count_;
    last_step_ = record.step;
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (count_ == 0) return NotEvaluated{"no normalisation or dropout was recorded whose mode could be wrong"};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(count_) < steps_) return too_few_steps(count_, steps_);
    return Healthy{};
  }

 private:
  struct Mode {
    Persistence evaluation;
    bool trained = false;  ///< Was in training mode at some step.
    bool exists = false;
  };

  /// Whether the model has any of that kind at this step.
  static bool observe_mode(Mode& mode, double training, double evaluation, std::int64_t step) {
    const bool any = training > 0 || evaluation > 0;
    if (!any) return false;
    mode.exists = true;
    mode.trained = mode.trained || training > 0;
    mode.evaluation.observe(evaluation > 0 && !(training > 0), step);
    return true;
  }

  bool switched(const Mode& mode) const { return mode.evaluation.holds() && mode.trained; }

  std::optional<Severity> severity() const {
    const bool norms = norms_.evaluation.holds();
    const bool dropouts = dropouts_.evaluation.holds();
    if (!norms && !dropouts) return std::nullopt;
    // What was in training mode and is not any more has been forgotten there after an evaluation.
    if (switched(norms_) || switched(dropouts_) || dropouts) return Severity::kWarning;
    // Norms alone in evaluation mode from the beginning: fine-tuning with frozen statistics does that on purpose.
    return harm_.stands_still() || harm_.rose() ? Severity::kWarning : Severity::kInfo;
  }

  Finding finding() const {
    const bool of_norms = norms_.evaluation.holds();
    const bool of_dropouts = dropouts_.evaluation.holds();
    const Mode& mode = of_norms ? norms_ : dropouts_;
    const bool forgotten = switched(norms_) || switched(dropouts_);
    const std::int64_t since = mode.evaluation.since().value_or(mode.evaluation.last());
    Finding finding = new_finding(kId, *severity(), forgotten ? 0.95 : 0.8, {}, {since, mode.evaluation.last()}, {});
    const std::string who = of_norms && of_dropouts ? "Normalisation layers and dropouts are"
                            : of_norms              ? "Normalisation layers are"
                                                    : "Dropouts are";
    finding.message = fmt::format("{} in evaluation mode while the model is trained, {}.", who,
                                  forgotten ? fmt::format("since step {}; before, they were in training mode", since)
                                            : fmt::format("since the beginning (step {})", since));
    if (of_norms)
      finding.evidence.push_back(evidence("share of the latest steps whose normalisations all used running statistics",
                                          norms_.evaluation.share(), "≥", share_, Quantity::kNormsEvaluation));
    if (of_dropouts)
      finding.evidence.push_back(evidence("share of the latest steps whose dropouts all passed everything on",
                                          dropouts_.evaluation.share(), "≥", share_, Quantity::kDropoutsEvaluation));
    if (harm_.stands_still() || harm_.rose()) {
      finding.message += fmt::format(" It may do harm: {}.", harm_.words());
      finding.evidence.push_back(loss_evidence(harm_));
    } else if (*severity() == Severity::kInfo) {
      finding.message += " That is usual where a pretrained model is fine-tuned with frozen statistics.";
    }
    Recommendation advice;
    advice.id = "train-mode";
    advice.text = "Call net->train() before the loop and after each evaluation.";
    advice.why =
        "In evaluation mode dropout does nothing and batch normalisation uses statistics that are not updated any "
        "more.";
    advice.code = "net->train();  // in front of every epoch, since net->eval() stays until it is undone";
    advice.confidence = forgotten ? 0.95 : *severity() == Severity::kInfo ? 0.5 : 0.7;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double share_;
  double steps_;
  LossHarm harm_;
  Mode norms_;
  Mode dropouts_;
  Alarm alarm_;
  std::size_t count_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule wrong_mode() {
  RuleInfo info;
  info.id = kId;
  info.title = "Model is trained in evaluation mode";
  info.meaning =
      "Dropout and batch normalisation are in evaluation mode while the model is trained, most often because "
      "net->eval() "
      "for a validation was never undone. Dropout does not regularise, and batch normalisation does not normalise what "
      "it sees.";
  info.method =
      "Counts, over the latest 20 recorded steps, those whose dropouts all pass everything on, or whose normalisations "
      "all use running statistics. A warning where dropouts do, or where either was in training mode before. "
      "Normalisations alone, from the beginning, are information, and a warning when the loss does not fall or blows "
      "up.";
  info.limits =
      "Fine-tuning with frozen statistics is healthy. A dropout that is switched off on purpose by its mode gets a "
      "warning. Models without dropout and batch normalisation have no mode that could be seen.";
  info.options = {
      {"share", 0.9, "Share of the latest recorded steps in the wrong mode.",
       "Nearly all; modes change between epochs."},
      {"steps", 20, "Latest recorded steps that are looked at.", "The steps that are always recorded."},
  };
  info.references = {"PyTorch documentation, torch.nn.Module.train", "Ben Braiek and Khomh, TheDeepChecker, 2022"};
  info.effects = {{"batchnorm-statistics"}, {"dead-units"},     {"diverging-loss"},          {"exploding-activation"},
                  {"overfitting"},          {"plateaued-loss"}, {"no-better-than-constant"}, {"vanishing-gradient"}};
  return make_rule<WrongMode>(std::move(info));
}

}  // namespace gradhealth::rules
