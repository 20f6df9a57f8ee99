#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "train-mode-in-eval";

class TrainModeInEval final : public Judge {
 public:
  explicit TrainModeInEval(const RuleOptions& options)
      : share_(options.at("share")), passes_(options.at("passes")), constant_(options.at("every-step")) {}

  void observe(const Run& run, const StepRecord& record) override {
    minimized_ = is_minimized(run.info);
    ++count_;
    if (!(record.at(Quantity::kEvalSamples) > 0)) return;
    ++evaluations_;
    const double norms = record.at(Quantity::kEvalNormsTraining);
    const double dropouts = record.at(Quantity::kEvalDropoutsTraining);
    if (!std::isnan(norms)) norms_.add(norms > 0, record.step);
    if (!std::isnan(dropouts)) dropouts_.add(dropouts > 0, record.step);
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (norms_.judged == 0 && dropouts_.judged == 0)
      return NotEvaluated{"no pass without gradients was recorded between the steps"};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(evaluations_) < passes_)
      return NotEvaluated{fmt::format("needs {:.0f} recorded evaluations, has {}", passes_, evaluations_)};
    return Healthy{};
  }

 private:
  bool shows(const Tally& tally) const { return static_cast<double>(tally.seen) >= passes_ && tally.share() >= share_; }

  std::optional<Severity> severity() const {
    if (!shows(norms_)) return shows(dropouts_) ? std::optional(Severity::kInfo) : std::nullopt;
    // A pass without gradients in every step belongs to the training: samples of a generator, targets of a teacher.
    const bool in_step = static_cast<double>(evaluations_) > constant_ * static_cast<double>(count_);
    return minimized_ && !in_step ? Severity::kWarning : Severity::kInfo;
  }

  Finding finding() const {
    const bool of_norms = shows(norms_);
    const Tally& tally = of_norms ? norms_ : dropouts_;
    Finding finding = new_finding(kId, *severity(), 0.8, {}, {tally.first, tally.last}, {});
    finding.message = fmt::format("{} of {} recorded evaluations ran {} in training mode{}.", tally.seen, tally.judged,
                                  of_norms ? "batch normalisation" : "dropout",
                                  of_norms && shows(dropouts_) ? ", and dropout too" : "");
    finding.message += of_norms ? " Their results depend on the batches, and they changed the running statistics."
                                : " Their results are random and too low, unless several are averaged on purpose.";
    finding.evidence.push_back(evidence("share of the evaluations in training mode", tally.share(), "≥", share_,
                                        of_norms ? Quantity::kEvalNormsTraining : Quantity::kEvalDropoutsTraining));
    Recommendation advice;
    advice.id = "eval-mode";
    advice.text = "Call net->eval() before each evaluation and net->train() after it.";
    advice.why =
        "NoGradGuard only switches gradients off. torch::dropout and torch::nn::functional::dropout have a mode of "
        "their "
        "own: give them net->is_training().";
    advice.code =
        "net->eval();\n"
        "{\n"
        "  torch::NoGradGuard no_grad;\n"
        "  output = net->forward(x);\n"
        "}\n"
        "net->train();";
    advice.confidence = *severity() == Severity::kWarning ? 0.9 : 0.5;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double share_;
  double passes_;
  double constant_;
  Alarm alarm_;
  Tally norms_;
  Tally dropouts_;
  bool minimized_ = true;
  std::size_t count_ = 0;
  std::size_t evaluations_ = 0;
};

}  // namespace

Rule train_mode_in_eval() {
  RuleInfo info;
  info.id = kId;
  info.title = "Model is evaluated in training mode";
  info.meaning =
      "Evaluation passes run batch normalisation or dropout in training mode. The figures that they give depend on the "
      "composition of batches and on chance, and the running statistics take in the evaluation's data.";
  info.method =
      "Counts passes without gradients between recorded steps in which normalisations used the batch's statistics, or "
      "dropouts dropped. Nearly all, and three or more: a warning for normalisations, information for dropouts.";
  info.limits =
      "Averaging over dropout is done on purpose. Passes without gradients in nearly every step belong to the training "
      "(generators, teachers, replay) and are information, as are adversarial and reinforcement losses.";
  info.options = {
      {"share", 0.8, "Share of the evaluations in training mode.", "Nearly all."},
      {"passes", 3, "Evaluations that must be in training mode.", "One may re-estimate statistics on purpose."},
      {"every-step", 0.5, "Share of the recorded steps with such passes from which they belong to the training.",
       "Validation is done once in an epoch."},
  };
  info.references = {"PyTorch documentation, torch.nn.Module.eval",
                     "PyTorch documentation, torch.nn.functional.dropout: training=True by default"};
  info.effects = {{"batchnorm-statistics"}, {"overfitting"}};
  return make_rule<TrainModeInEval>(std::move(info));
}

}  // namespace gradhealth::rules
