#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_operators.h"
#include "rules/support/new_finding.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "constant-target";
constexpr double kRounding = 1e-9;  ///< Nats. One other target among ten million gives 2e-6.

class ConstantTarget final : public Judge {
 public:
  explicit ConstantTarget(const RuleOptions& options)
      : samples_(options.at("samples")),
        samples_of_two_(options.at("samples-of-two")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run&, const StepRecord& record) override {
    operators_.observe(record);
    const double entropy = record.at(Quantity::kTargetEntropy);
    if (std::isnan(entropy) || loss() == nullptr) return;
    if (steps_++ == 0) first_step_ = record.step;
    last_step_ = record.step;
    // Of all targets so far: once there were two classes, it never is 0 again.
    varies_ = varies_ || entropy > kRounding;
    target_ = record.at(Quantity::kTargetMax);
    if (const double classes = record.at(Quantity::kTargetClasses); classes > 0) classes_ = classes;
    if (const double batch = record.at(Quantity::kBatchSize); batch > 0) seen_ += batch;
    alarm_.set(is_constant() ? 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (is_constant()) return unhealthy({finding()});
    if (steps_ == 0) return NotEvaluated{"no class targets of a layer's own outputs were recorded"};
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    if (varies_) return Healthy{};
    return NotEvaluated{fmt::format("{:.0f} targets of one class are too few to tell", seen_)};
  }

 private:
  /// Contrastive losses put the right answer first in logits that they make by hand: their target is 0 always.
  const LossOperator* loss() const {
    for (const LossOperator& each : operators_.all())
      if (is_class_loss(each.name) && !each.subject.empty()) return &each;
    return nullptr;
  }

  bool is_constant() const {
    return static_cast<double>(steps_) >= min_steps_ && !varies_ &&
           seen_ >= (classes_ == 2 ? samples_of_two_ : samples_);
  }

  Finding finding() const {
    Finding finding = new_finding(
        kId, Severity::kWarning, 0.8, {{}, {}, loss()->subject}, {first_step_, last_step_},
        fmt::format("All targets of {} recorded steps are of class {:.0f}: the model learns to say so whatever "
                    "it is shown, and a low loss says nothing.",
                    steps_, target_));
    finding.evidence.push_back(evidence("entropy of all targets, in nats", 0, "=", 0, Quantity::kTargetEntropy));
    Recommendation loader;
    loader.id = "check-targets";
    loader.text =
        "Look at the targets that the loader gives: labels that were never filled in, or one class's files only.";
    loader.why = "Without a second class there is nothing to tell apart.";
    loader.code =
        "for (const auto& batch : *loader)\n"
        "  std::cout << torch::bincount(batch.target.flatten()) << '\\n';  // samples of each class";
    loader.confidence = 0.8;
    Recommendation order = shuffle_data(std::max(1.0, std::round(seen_ / static_cast<double>(steps_))));
    order.text = "If the data are sorted by class, shuffle them: give the loader a RandomSampler.";
    order.confidence = 0.5;
    finding.recommendations = {std::move(loader), std::move(order)};
    return finding;
  }

  double samples_;
  double samples_of_two_;
  double min_steps_;
  LossOperators operators_;
  Alarm alarm_;
  std::size_t steps_ = 0;
  bool varies_ = false;
  double seen_ = 0;
  double target_ = NAN;
  double classes_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule constant_target() {
  RuleInfo info;
  info.id = kId;
  info.title = "All targets are the same";
  info.meaning =
      "Every sample has the same class: the labels were not read, or come from one class's files. The loss falls to "
      "nothing at once, and the model has learnt nothing.";
  info.method =
      "Entropy of the class frequencies over all recorded steps is 0, after enough of them and of samples. Only where "
      "the loss compares a layer's own outputs with class indices.";
  info.limits =
      "The first class of data that are sorted looks the same, until the second one comes. Very rare classes may be "
      "missing from the recorded steps. Targets of binary and squared losses are not judged: adversarial trainings "
      "have constant ones.";
  info.options = {
      {"samples", 200, "Targets that must have been seen.",
       "A class of 2 % is missing from 200 with probability 0.02."},
      {"samples-of-two", 3000, "The same where there are two classes, of which one may be rare.",
       "Frauds of 0.17 % (Dal Pozzolo et al., 2015) are missing from 3,000 with probability 0.006."},
      min_steps_option(20),
  };
  info.references = {"Karpathy, A recipe for training neural networks, 2019"};
  info.effects = {{"collapsed-output"}, {"vanishing-gradient"}, {"zero-gradient"}, {"plateaued-loss"}};
  return make_rule<ConstantTarget>(std::move(info));
}

}  // namespace gradhealth::rules
