#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/operators.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "constant-input";

class ConstantInput final : public Judge {
 public:
  explicit ConstantInput(const RuleOptions& options)
      : share_(options.at("share")),
        rounding_(options.at("rounding")),
        table_(options.at("table-features")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    const std::vector<Subject>& subjects = run.of(Axis::kFeature);
    for (std::size_t i = features_.size(); i < subjects.size(); ++i) features_.push_back({subjects[i].name});
    if (!subjects.empty()) is_table_ = is_table(subjects);
    // A batch of one sample says nothing about how samples differ.
    if (const double batch = record.at(Quantity::kBatchSize); !(batch >= 2)) {
      single_ = single_ || batch < 2;
      return;
    }
    bool any = false;
    bool varies = false;
    // Only of tables single features are told; of anything else one that varies is enough.
    for (std::size_t i = 0; i < features_.size() && !(varies && !is_table_); ++i) {
      const double deviation = record.at(Quantity::kInputStd, i);
      if (!std::isfinite(deviation)) continue;
      any = true;
      const bool moves = deviation > rounding_ * std::abs(record.at(Quantity::kInputMean, i));
      varies = varies || moves;
      observe_feature(features_[i], record, i, moves);
    }
    if (!any) return;
    constant_.add(!varies, record.step);
    last_step_ = record.step;
    if (constant_.judged == 1) first_step_ = record.step;
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (constant_.judged == 0)
      return NotEvaluated{single_ ? "every batch has one sample, which cannot differ from others"
                                  : "no statistics of the input were recorded"};
    if (const auto now = severity()) return unhealthy({*now == Severity::kInfo ? some() : all()});
    if (static_cast<double>(constant_.judged) < min_steps_) return too_few_steps(constant_.judged, min_steps_);
    return Healthy{};
  }

 private:
  struct Feature {
    std::string name;
    double value = NAN;  ///< The only one seen so far.
    bool varies = false;
  };

  bool is_table(const std::vector<Subject>& subjects) const {
    return static_cast<double>(subjects.size()) <= table_ && subjects[0].name.rfind("feature", 0) == 0 &&
           !is_embedding(subjects[0].kind);
  }

  void observe_feature(Feature& feature, const StepRecord& record, std::size_t index, bool moves) const {
    const double mean = record.at(Quantity::kInputMean, index);
    if (std::isnan(feature.value)) feature.value = mean;
    feature.varies = feature.varies || moves || std::abs(mean - feature.value) > rounding_ * std::abs(mean);
  }

  std::size_t constant_features() const {
    return static_cast<std::size_t>(std::count_if(features_.begin(), features_.end(), [](const Feature& each) {
      return !each.varies && !std::isnan(each.value);
    }));
  }

  std::optional<Severity> severity() const {
    if (static_cast<double>(constant_.judged) < min_steps_) return std::nullopt;
    if (constant_.share() >= share_) return harm_.stands_still() ? Severity::kError : Severity::kWarning;
    if (!is_table_) return std::nullopt;
    const std::size_t constant = constant_features();
    return constant > 0 && constant < features_.size() ? std::optional(Severity::kInfo) : std::nullopt;
  }

  Finding all() const {
    Finding finding = new_finding(kId, *severity(), 0.95, {}, {constant_.first, constant_.last}, {});
    finding.subject.name = features_[0].name;
    finding.message = fmt::format(
        "All samples of a batch were the same in {} of {} recorded steps: no feature of the input varies ({} is {}). "
        "{}.",
        constant_.seen, constant_.judged, features_[0].name, number(features_[0].value),
        harm_.stands_still() ? "It does harm: " + harm_.words() : "No harm is seen so far");
    finding.evidence.push_back(evidence("share of the recorded steps without any varying feature", constant_.share(),
                                        "≥", share_, Quantity::kInputStd, features_[0].name));
    if (harm_.stands_still()) finding.evidence.push_back(loss_evidence(harm_));
    Recommendation advice;
    advice.id = "check-loader";
    advice.text = "Look at one batch as it leaves the loader, and find where its samples become the same.";
    advice.why =
        "An index that is not used, a buffer that is written over, or a transform that clamps everything makes every "
        "sample the same; a model can then learn no more than the targets' mean.";
    advice.code =
        "auto first = *loader->begin();\n"
        "const auto rows = first.data.flatten(1).to(torch::kFloat64);\n"
        "TORCH_CHECK(rows.std(0).max().item<double>() > 0, \"all samples of the batch are the same\");";
    advice.confidence = 0.8;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  Finding some() const {
    std::vector<std::string> names;
    std::string indices;
    for (std::size_t i = 0; i < features_.size(); ++i) {
      if (!features_[i].varies && !std::isnan(features_[i].value))
        names.push_back(features_[i].name);
      else
        indices += fmt::format("{}{}", indices.empty() ? "" : ", ", i);
    }
    Finding finding = new_finding(kId, Severity::kInfo, 0.9, {}, {first_step_, last_step_}, {});
    finding.subject.name = names[0];
    finding.message = fmt::format("{} of {} input features did not vary in {} recorded steps: {}.", names.size(),
                                  features_.size(), constant_.judged, list_of(names, 4));
    finding.evidence.push_back(
        evidence(fmt::format("standard deviation of {}", names[0]), 0, "=", 0, Quantity::kInputStd, names[0]));
    Recommendation advice;
    advice.id = "drop-constant-features";
    advice.text = fmt::format("Drop {}, or check where their values come from.", list_of(names, 4));
    advice.why = "A column that never varies acts as a second bias; where it should vary, the data are damaged.";
    advice.code = fmt::format("x = x.index_select(1, torch::tensor({{{}}}, torch::kLong));", indices);
    advice.confidence = 0.5;
    finding.recommendations.push_back(std::move(advice));
    return finding;
  }

  double share_;
  double rounding_;
  double table_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Tally constant_;
  std::vector<Feature> features_;
  bool single_ = false;
  bool is_table_ = false;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule constant_input() {
  RuleInfo info;
  info.id = kId;
  info.title = "Input does not vary";
  info.meaning =
      "All samples of a batch are the same. What the model gives cannot depend on its input then, and the best that it "
      "can learn is the targets' mean or the classes' frequencies.";
  info.method =
      "Counts recorded steps with at least two samples in which no feature's standard deviation is above rounding. "
      "Nearly all of them: a warning, and an error when the loss does not fall. Single features of a table that never "
      "vary are information.";
  info.limits =
      "Steps with one sample are not judged. Pictures have constant borders, and tables of many columns constant ones: "
      "these are not mentioned.";
  info.options = {
      {"share", 0.9, "Share of the recorded steps in which nothing varies.",
       "A batch of equal samples can occur by chance in small data sets, not nearly always."},
      {"rounding", 1e-6, "Standard deviation, relative to |mean|, that is none.",
       "Eight times the rounding of single precision."},
      {"table-features", 64, "Features up to which constant ones are named.", "What a person can look through."},
      min_steps_option(20),
  };
  info.references = {"Ben Braiek and Khomh, TheDeepChecker, 2022"};
  info.effects = {{"collapsed-output"}, {"no-better-than-constant"}, {"plateaued-loss"}, {"repeated-batch"},
                  {"dead-units"},       {"vanishing-gradient"},      {"zero-gradient"},  {"jacobian-growth"},
                  {"symmetric-weight"}, {"gradient-noise"}};
  return make_rule<ConstantInput>(std::move(info));
}

}  // namespace gradhealth::rules
