#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/new_finding.h"
#include "rules/support/operators.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"
#include "stats/moments.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "eval-input-mismatch";
constexpr std::size_t kEnough = 200;  ///< Recorded steps whose input tells what training data are like.

class EvalInputMismatch final : public Judge {
 public:
  explicit EvalInputMismatch(const RuleOptions& options)
      : distance_(options.at("distance")),
        ratio_(options.at("std-ratio")),
        share_(options.at("share")),
        samples_(options.at("samples")),
        passes_(options.at("passes")) {}

  void observe(const Run& run, const StepRecord& record) override {
    const std::vector<Subject>& features = run.of(Axis::kFeature);
    if (!features.empty()) consumer_ = features[0].kind;
    if (steps_ < kEnough) observe_training(features, record);
    const double mean = record.at(Quantity::kEvalInputMean);
    const double deviation = record.at(Quantity::kEvalInputStd);
    if (!std::isfinite(mean) || !std::isfinite(deviation) || !(record.at(Quantity::kEvalSamples) >= samples_)) return;
    if (!(training_.deviation() > 0)) return;
    const bool differs = differs_by_distance(mean) || differs_by_ratio(deviation);
    mismatch_.add(differs, record.step);
    if (differs) {
      mean_ = mean;
      deviation_ = deviation;
    }
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (steps_ == 0) return NotEvaluated{"no statistics of the input were recorded"};
    if (is_embedding(consumer_)) return NotEvaluated{"the input are indices into an embedding, which have no level"};
    if (mismatch_.judged == 0)
      return NotEvaluated{fmt::format("no evaluation pass with {:.0f} samples was recorded", samples_)};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(mismatch_.judged) < passes_)
      return NotEvaluated{fmt::format("needs {:.0f} recorded evaluation passes, has {}", passes_, mismatch_.judged)};
    return Healthy{};
  }

 private:
  void observe_training(const std::vector<Subject>& features, const StepRecord& record) {
    bool any = false;
    for (std::size_t i = 0; i < features.size(); ++i) {
      const double deviation = record.at(Quantity::kInputStd, i);
      if (!std::isfinite(deviation)) continue;
      any = true;
      training_.add_group(static_cast<double>(std::max<std::int64_t>(features[i].size, 1)),
                          record.at(Quantity::kInputMean, i), deviation);
    }
    steps_ += any ? 1 : 0;
  }

  bool differs_by_distance(double mean) const {
    return std::abs(mean - training_.mean()) > distance_ * training_.deviation();
  }
  bool differs_by_ratio(double deviation) const {
    return deviation > ratio_ * training_.deviation() || training_.deviation() > ratio_ * deviation;
  }

  std::optional<Severity> severity() const {
    if (is_embedding(consumer_) || static_cast<double>(mismatch_.seen) < passes_) return std::nullopt;
    return mismatch_.share() >= share_ ? std::optional(Severity::kWarning) : std::nullopt;
  }

  Finding finding() const {
    Finding finding = new_finding(kId, Severity::kWarning, 0.85, {}, {mismatch_.first, mismatch_.last}, {});
    finding.message = fmt::format(
        "Evaluation passes see other inputs than training: mean {} and standard deviation {}, in training {} and {} "
        "({} of {} recorded evaluations).",
        number(mean_), number(deviation_), number(training_.mean()), number(training_.deviation()), mismatch_.seen,
        mismatch_.judged);
    if (differs_by_ratio(deviation_))
      finding.evidence.push_back(
          evidence("standard deviation of the input, larger over smaller",
                   std::max(deviation_ / training_.deviation(), training_.deviation() / std::max(deviation_, 1e-300)),
                   ">", ratio_, Quantity::kEvalInputStd));
    else
      finding.evidence.push_back(evidence("distance of the means in standard deviations of the training input",
                                          std::abs(mean_ - training_.mean()) / training_.deviation(), ">", distance_,
                                          Quantity::kEvalInputMean));
    finding.recommendations.push_back(advice());
    return finding;
  }

  Recommendation advice() const {
    Recommendation advice;
    advice.id = "normalize-evaluation";
    advice.why = "A model knows inputs of the size that it was trained on; on others its outputs mean nothing.";
    const double factor = deviation_ / training_.deviation();
    const bool pixels = std::abs(factor / 255 - 1) < 0.3;
    if (pixels) {
      advice.text = "Divide the input of evaluation passes by 255, as that of training is.";
      advice.code = "// in evaluation:\nx = x.to(torch::kFloat32).div(255);";
      advice.confidence = 0.8;
      advice.values = {{"scale", {255}}};
      return advice;
    }
    advice.text =
        "Use the transforms of training in evaluation; the code maps mean and deviation onto those of training, which "
        "is "
        "a guess at what is missing.";
    advice.code = fmt::format("// in evaluation, until the transforms are the same:\nx = (x - {}) / {} * {} + {};",
                              literal(mean_), literal(deviation_ > 0 ? deviation_ : 1), literal(training_.deviation()),
                              literal(training_.mean()));
    advice.confidence = 0.4;
    advice.values = {{"mean", {mean_}},
                     {"std", {deviation_}},
                     {"training_mean", {training_.mean()}},
                     {"training_std", {training_.deviation()}}};
    return advice;
  }

  double distance_;
  double ratio_;
  double share_;
  double samples_;
  double passes_;
  Alarm alarm_;
  Tally mismatch_;
  stats::Moments training_;
  std::string consumer_;
  std::size_t steps_ = 0;
  double mean_ = NAN;
  double deviation_ = NAN;
};

}  // namespace

Rule eval_input_mismatch() {
  RuleInfo info;
  info.id = kId;
  info.title = "Evaluation sees other inputs than training";
  info.meaning =
      "Validation or inference feeds the model with inputs of another level or scale, most often because a "
      "normalisation "
      "is applied on one side only. The training looks healthy, and every figure of the evaluation is wrong.";
  info.method =
      "Compares mean and standard deviation of the input of passes without gradients with those of the first 200 "
      "recorded training steps. A warning if nearly all such passes, and at least two, lie more than 3 standard "
      "deviations away or differ in scale by more than 5.";
  info.limits =
      "Passes of fewer than 8 samples are not judged. Heavy augmentation changes a level by less than this. A model "
      "whose decoder alone is evaluated, on random codes, may get a warning.";
  info.options = {
      {"distance", 3, "Distance of the means, in standard deviations of the training input.",
       "Samples of the same data lie closer, be it only one class."},
      {"std-ratio", 5, "Ratio of the standard deviations.", "Augmentation changes contrast by less than twice."},
      {"share", 0.8, "Share of the evaluation passes that differ.", "All of the same kind, with exceptions."},
      {"samples", 8, "Samples of an evaluation pass from which its statistics count.", "Fewer are anecdotes."},
      {"passes", 2, "Evaluation passes that must differ.", "One may be a test of something else."},
  };
  info.references = {"Sculley et al., Hidden technical debt in machine learning systems, 2015"};
  info.effects = {{"overfitting"}};
  return make_rule<EvalInputMismatch>(std::move(info));
}

}  // namespace gradhealth::rules
