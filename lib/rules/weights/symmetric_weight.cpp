#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/init_advice.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/operators.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "symmetric-weight";

class SymmetricWeight final : public Judge {
 public:
  explicit SymmetricWeight(const RuleOptions& options)
      : spread_(options.at("row-spread")), wanted_(options.at("steps")), most_(options.at("max-findings")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    meet(run);
    if (calm_ && says_nothing_new(record)) return alarm_.set(0);
    calm_ = true;
    std::size_t level = 0;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      if (!weights_[i].judged) continue;
      observe_weight(weights_[i], record, i);
      calm_ = calm_ && weights_[i].trained && weights_[i].streak == 0;
      if (const auto now = severity(weights_[i])) level += static_cast<std::size_t>(*now) + 1;
    }
    alarm_.set(level);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    std::vector<Finding> findings;
    std::size_t steps = 0;
    for (const Weight& weight : weights_) {
      steps = std::max(steps, weight.steps);
      if (const auto now = severity(weight)) findings.push_back(finding(weight, subject_of(weight), *now));
    }
    if (!findings.empty()) return unhealthy(std::move(findings), most_);
    if (steps == 0) return NotEvaluated{"the spread of the rows of weights was not recorded"};
    if (static_cast<double>(steps) < wanted_) return too_few_steps(steps, wanted_);
    return Healthy{};
  }

 private:
  struct Weight {
    bool judged = false;
    std::size_t steps = 0;   ///< Recorded steps with a spread, which a weight that leaves zero has not.
    std::size_t streak = 0;  ///< Of them, those in a row whose rows were the same.
    bool trained = false;    ///< It has a gradient: fixed filters have none.
    double latest = NAN;
    std::int64_t since = 0;
    std::int64_t last = 0;
  };

  void meet(const Run& run) {
    const std::vector<Subject>& parameters = run.of(Axis::kParameter);
    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    for (std::size_t i = weights_.size(); i < parameters.size(); ++i) {
      const std::vector<std::int64_t> sizes = sizes_of(parameters[i].shape);
      weights_.emplace_back();
      calm_ = false;
      subjects_.push_back(parameters[i]);
      weights_.back().judged = parameters[i].kind == "weight" && sizes.size() >= 2 && sizes[0] >= 2;
    }
    for (; activations_ < activations.size(); ++activations_)
      if (is_embedding(activations[activations_].kind) || is_norm(activations[activations_].kind))
        for (std::size_t i = 0; i < weights_.size(); ++i)
          if (subjects_[i].module == activations[activations_].module) weights_[i].judged = false;
  }

  /// Rows are compared in few of the recorded steps.
  static bool says_nothing_new(const StepRecord& record) {
    const std::vector<double>& norms = record.values(Quantity::kWeightNorm);
    return record.values(Quantity::kRowSpread).empty() && std::find(norms.begin(), norms.end(), 0.0) == norms.end();
  }

  void observe_weight(Weight& weight, const StepRecord& record, std::size_t index) const {
    const double gradient = record.at(Quantity::kGradientNorm, index);
    const double norm = record.at(Quantity::kWeightNorm, index);
    weight.trained = weight.trained || gradient >= 0;
    // Zeros that get a gradient are on their way; with none they stay, and all rows are the same.
    const bool stuck = norm == 0 && gradient == 0 && record.at(Quantity::kLearningRate) != 0;
    const double spread = stuck ? 0 : record.at(Quantity::kRowSpread, index);
    if (!std::isfinite(spread) || (norm == 0 && !stuck)) return;
    ++weight.steps;
    weight.latest = spread;
    if (!(spread < spread_)) {
      weight.streak = 0;
      return;
    }
    if (weight.streak++ == 0) weight.since = record.step;
    weight.last = record.step;
  }

  std::optional<Severity> severity(const Weight& weight) const {
    if (!weight.judged || !weight.trained || static_cast<double>(weight.streak) < wanted_) return std::nullopt;
    return harm_.any() ? Severity::kError : Severity::kWarning;
  }

  const Subject& subject_of(const Weight& weight) const {
    return subjects_[static_cast<std::size_t>(&weight - weights_.data())];
  }

  Finding finding(const Weight& weight, const Subject& subject, Severity severity) const {
    const std::int64_t rows = sizes_of(subject.shape)[0];
    const std::string& name = subject.name;
    Finding finding = new_finding(
        kId, severity, 0.95, ref(subject), {weight.since, weight.last},
        fmt::format("All {} rows of {} have been the same for {} recorded steps, since step {}: its units compute one "
                    "and the same thing; {}.",
                    rows, name, weight.streak, weight.since, harm_.words()));
    finding.evidence.push_back(evidence("spread of the rows", weight.latest, "<", spread_, Quantity::kRowSpread, name));
    finding.evidence.push_back(evidence("recorded steps in a row", static_cast<double>(weight.streak), "≥", wanted_,
                                        Quantity::kRowSpread, name));
    finding.recommendations.push_back(random_init(name));
    return finding;
  }

  double spread_;
  double wanted_;
  double most_;
  LossHarm harm_;
  Alarm alarm_;
  std::vector<Subject> subjects_;
  std::vector<Weight> weights_;  ///< As subjects_, apart from them: these are looked at in every step.
  bool calm_ = false;            ///< All have a gradient, and none has rows that are the same.
  std::size_t activations_ = 0;
};

}  // namespace

Rule symmetric_weight() {
  RuleInfo info;
  info.id = kId;
  info.title = "Units of a layer are the same";
  info.meaning =
      "The rows of a weight are equal and stay equal, because they started equal and get equal gradients. However wide "
      "the layer is, it has one unit.";
  info.method =
      "Root mean square of the rows' differences from their mean, over that of the weight. Counts recorded steps in a "
      "row in which it is next to nothing, or in which a weight of zeros gets a gradient of zeros; of weights with two "
      "rows or more that are trained. Warning; an error if the loss stands still or rises.";
  info.limits =
      "A weight that starts at zero is looked at once it is not zero; random neighbours make its rows differ then. "
      "Biases, norm scales, embeddings and fixed filters are not looked at. Large weights are read in samples and have "
      "no spread recorded.";
  info.options = {
      {"row-spread", 1e-6, "Spread of the rows over the size of the weight.",
       "Ten times the rounding of single precision."},
      {"steps", 10, "Recorded steps in a row.", "Random neighbours break the symmetry in the first."},
      {"max-findings", 8, "Weights that get a finding of their own.", "What a person reads."},
  };
  info.references = {"Goodfellow, Bengio, Courville, Deep Learning, 2016, section 8.4"};
  info.effects = {{"dead-units"},       {"zero-gradient"},           {"vanishing-gradient"},
                  {"collapsed-output"}, {"no-better-than-constant"}, {"plateaued-loss"}};
  return make_rule<SymmetricWeight>(std::move(info));
}

}  // namespace gradhealth::rules
