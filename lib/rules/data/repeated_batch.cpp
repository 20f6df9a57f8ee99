#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"
#include "rules/support/validation_loss.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "repeated-batch";

class RepeatedBatch final : public Judge {
 public:
  explicit RepeatedBatch(const RuleOptions& options)
      : share_(options.at("share")),
        batch_(options.at("batch")),
        solved_(options.at("solved")),
        gap_(options.at("gap")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    if (const double value = validation_.observe(run, record); std::isfinite(value)) latest_validation_ = value;
    if (const double seen = record.at(Quantity::kEvalSamples); std::isfinite(seen))
      evaluated_ = std::max(evaluated_, seen);
    if (!take_input(record)) return;
    if (before_.size() == now_.size()) {
      same_.add(std::equal(now_.begin(), now_.end(), before_.begin()), record.step);
      last_step_ = record.step;
      alarm_.set(alarm_level(severity()));
    } else {
      first_step_ = record.step;
    }
    std::swap(before_, now_);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (same_.judged == 0) return NotEvaluated{"no statistics of two inputs that vary were recorded"};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(same_.judged) < min_steps_) return too_few_steps(same_.judged, min_steps_);
    return Healthy{};
  }

 private:
  /// The statistics of this batch; false if there are none, or none that tell batches apart.
  bool take_input(const StepRecord& record) {
    const std::vector<double>& means = record.values(Quantity::kInputMean);
    const std::vector<double>& deviations = record.values(Quantity::kInputStd);
    if (means.empty() || means.size() != deviations.size()) return false;
    now_.clear();
    bool varies = false;
    const auto take = [this](double value) { now_.push_back(std::isfinite(value) ? value : 0); };
    for (std::size_t i = 0; i < means.size(); ++i) {
      take(means[i]);
      take(deviations[i]);
      varies = varies || deviations[i] > 0;
    }
    latest_batch_ = record.at(Quantity::kBatchSize);
    take(latest_batch_);
    return varies;
  }

  bool memorised() const {
    const LossTrack& loss = harm_.loss();
    return loss.count() > 0 && loss.start() > 0 && std::abs(loss.recent()) < solved_ * loss.start();
  }

  /// There are other data, on which the model is not as good.
  bool fails_elsewhere() const { return latest_validation_ > gap_ * std::max(harm_.loss().recent(), 0.0); }

  std::optional<Severity> severity() const {
    if (static_cast<double>(same_.judged) < min_steps_ || !(same_.share() >= share_)) return std::nullopt;
    const bool few = latest_batch_ < batch_;
    const bool more_exists = evaluated_ > latest_batch_ || fails_elsewhere();
    return few && memorised() && more_exists ? Severity::kWarning : Severity::kInfo;
  }

  Finding finding() const {
    Finding finding = new_finding(kId, *severity(), 0.8, {}, {first_step_, last_step_}, {});
    finding.message = fmt::format(
        "{} of {} recorded steps saw the batch of {} samples that the step before had seen: its statistics are the "
        "same "
        "to the last digit.",
        same_.seen, same_.judged, number(latest_batch_));
    finding.evidence.push_back(evidence("share of the recorded steps whose input is that of the step before",
                                        same_.share(), "≥", share_, Quantity::kInputMean));
    if (*severity() == Severity::kWarning) {
      finding.message += fmt::format(" The model has learnt it by heart (loss {} at the start, {} lately).",
                                     number(harm_.loss().start()), number(harm_.loss().recent()));
      finding.evidence.push_back(
          evidence("loss", harm_.loss().recent(), "<", solved_ * harm_.loss().start(), Quantity::kLoss));
    }
    Recommendation advice;
    advice.id = "check-loader";
    advice.text = "Take the next batch from the loader in every step, unless this one batch is all the data.";
    advice.why =
        "A batch that is fetched once, before the loop, is learnt by heart. Training on the whole of a small data set "
        "at "
        "once is no fault.";
    advice.code =
        "for (auto& batch : *loader) {  // not: auto batch = *loader->begin(); in front of the loop\n"
        "  optimizer.zero_grad();\n"
        "  loss = torch::nn::functional::cross_entropy(net->forward(batch.data), batch.target);\n"
        "  loss.backward();\n"
        "  optimizer.step();\n"
        "}";
    advice.confidence = *severity() == Severity::kWarning ? 0.7 : 0.5;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double share_;
  double batch_;
  double solved_;
  double gap_;
  double min_steps_;
  LossHarm harm_;
  ValidationLoss validation_;
  Alarm alarm_;
  Tally same_;
  std::vector<double> before_;
  std::vector<double> now_;
  double latest_batch_ = NAN;
  double latest_validation_ = NAN;
  double evaluated_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule repeated_batch() {
  RuleInfo info;
  info.id = kId;
  info.title = "Every step sees the same batch";
  info.meaning =
      "The input of every step is the same. With a small data set that is trained on as a whole this is as it should "
      "be; "
      "otherwise the loader was asked once only, and the model learns one batch by heart.";
  info.method =
      "Compares mean and standard deviation of all features and the number of samples with those of the recorded step "
      "before, exactly. Nearly always the same: information. A warning if the batch is small, its loss has come down "
      "to "
      "nothing, and there are other data: evaluation passes with more samples, or a validation loss far above it.";
  info.limits =
      "Training on all data at once, or on one batch as a test of the code, looks the same. A batch with noise or "
      "dropout added before the first layer is not recognised.";
  info.options = {
      {"share", 0.95, "Share of the recorded steps with the input of the step before.",
       "A second loader, or a reshuffled last batch, may come between."},
      {"batch", 64, "Samples below which one batch is hardly a data set.", "Usual batch sizes."},
      {"solved", 0.01, "Loss over its start at which the batch is known by heart.", "Two orders of magnitude."},
      {"gap", 10, "Validation loss over training loss that shows that there are other data.",
       "Models that generalise stay within a few times."},
      min_steps_option(30),
  };
  info.references = {"Zhang et al., Understanding deep learning requires rethinking generalization, 2017"};
  info.effects = {{"overfitting"}};
  return make_rule<RepeatedBatch>(std::move(info));
}

}  // namespace gradhealth::rules
