#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_operators.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "initial-loss";
constexpr double kLogitStd = 0.5;  ///< Deviation of logits that leaves the classes about equal.
constexpr double kRounding = 1.05;

class InitialLoss final : public Judge {
 public:
  explicit InitialLoss(const RuleOptions& options)
      : ratio_(options.at("ratio")),
        distance_(options.at("distance")),
        mention_(options.at("mention-ratio")),
        lasting_(options.at("lasting-ratio")),
        steps_(options.at("steps")),
        late_(static_cast<std::size_t>(std::clamp(steps_ / 2, 1.0, 1e4))) {}

  void observe(const Run& run, const StepRecord& record) override {
    operators_.observe(record);
    const double loss = record.at(Quantity::kLoss);
    if (std::isnan(loss)) return;
    if (count_++ == 0) {
      is_first_ = record.step == run.info.first_step && run.info.first_step == 0;
      is_minimized_ = is_minimized(run.info);
      first_ = loss;
      first_step_ = record.step;
      classes_ = record.at(Quantity::kTargetClasses);
      deviation_ = record.at(Quantity::kPredictionStd);
      range_ = record.at(Quantity::kPredictionMax) - record.at(Quantity::kPredictionMin);
    }
    if (static_cast<double>(count_) > steps_) return;
    late_.push(loss);
    last_step_ = record.step;
    if (const LossOperator* only = operators_.only(); only != nullptr && weight_.empty()) take_weight(run, *only);
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (count_ == 0) return NotEvaluated{"no loss was recorded"};
    if (!is_first_) return NotEvaluated{"the first recorded loss is not that of an untrained model"};
    if (!comparable()) return NotEvaluated{"the loss is not one averaged cross entropy of known classes"};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(count_) < steps_) return too_few_steps(count_, steps_);
    return Healthy{};
  }

 private:
  void take_weight(const Run& run, const LossOperator& loss) {
    for (const Subject& activation : run.of(Axis::kActivation)) {
      if (activation.name != loss.subject) continue;
      for (const Subject& parameter : run.of(Axis::kParameter))
        if (parameter.module == activation.module && parameter.kind == "weight") weight_ = parameter.name;
    }
  }

  bool comparable() const {
    const LossOperator* only = operators_.only();
    // More than this no cross entropy of these logits can be: the loss was scaled, or has further terms.
    const bool possible = !(first_ > kRounding * (guessing() + range_));
    return is_minimized_ && possible && only != nullptr && is_class_loss(only->name) && only->reduction != "sum" &&
           classes_ >= 2;
  }

  double guessing() const { return std::log(classes_); }

  std::optional<Severity> severity() const {
    if (!is_first_ || !comparable() || !(first_ > mention_ * guessing() && first_ > guessing() + distance_ / 2))
      return std::nullopt;
    const bool far = first_ > ratio_ * guessing() && first_ > guessing() + distance_;
    // What is gone within a few steps has cost a few steps.
    const bool lasting = static_cast<double>(count_) >= steps_ && !(late_.median() < lasting_ * guessing());
    return far && lasting ? Severity::kWarning : Severity::kInfo;
  }

  Finding finding() const {
    Finding finding = new_finding(kId, *severity(), 0.8, {{}, {}, weight_}, {first_step_, last_step_}, {});
    finding.message = fmt::format(
        "The first loss is {}; a model that knows nothing and says so has ln {:.0f} = {}. The first model is confident "
        "and wrong.",
        number(first_), classes_, number(guessing()));
    const bool far = first_ > ratio_ * guessing();
    finding.evidence.push_back(
        evidence("first loss", first_, ">", (far ? ratio_ : mention_) * guessing(), Quantity::kLoss));
    if (*severity() == Severity::kWarning) {
      finding.message += fmt::format(" {:.0f} recorded steps later it is still {}.", steps_, number(late_.median()));
      finding.evidence.push_back(
          evidence("loss after the first recorded steps", late_.median(), "≥", lasting_ * guessing(), Quantity::kLoss));
    }
    finding.recommendations.push_back(scale_down());
    return finding;
  }

  Recommendation scale_down() const {
    const bool measured = deviation_ > kLogitStd;
    const double factor = measured ? kLogitStd / deviation_ : 0.1;
    Recommendation advice;
    advice.id = "scale-init";
    advice.text = fmt::format("Start with smaller outputs: multiply the initial {} by {}{}.",
                              weight_.empty() ? "weights of the last layer" : weight_, number(factor),
                              measured ? "" : " (a guess: the outputs' size was not recorded)");
    advice.why =
        "The first steps then go into learning instead of into unlearning what chance has made the model believe.";
    const std::string which = weight_.empty() ? "net->parameters().at(net->parameters().size() - 2)"
                                              : fmt::format("net->named_parameters()[\"{}\"]", weight_);
    advice.code = fmt::format(
        "{{\n"
        "  torch::NoGradGuard no_grad;  // once, before training\n"
        "  {}.mul_({});\n"
        "}}",
        which, literal(factor));
    advice.confidence = measured ? 0.6 : 0.4;
    advice.values = {{"factor", {factor}}};
    return advice;
  }

  double ratio_;
  double distance_;
  double mention_;
  double lasting_;
  double steps_;
  stats::Window late_;
  LossOperators operators_;
  Alarm alarm_;
  std::string weight_;
  bool is_first_ = false;
  bool is_minimized_ = true;
  double first_ = NAN;
  double classes_ = NAN;
  double deviation_ = NAN;
  double range_ = NAN;
  std::size_t count_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule initial_loss() {
  RuleInfo info;
  info.id = kId;
  info.title = "First loss is far above guessing";
  info.meaning =
      "Before any training, cross entropy over k classes should be near ln k. Far above it, the outputs are large from "
      "the start: a wrong scale of the last layer or of the input. The first steps are spent on unlearning, or blow "
      "up.";
  info.method =
      "Compares the loss of step 0 with ln k. More than 1.5 times as large is information; a warning needs 3 times as "
      "much and 2 nats more, and a loss that has not come near ln k within the first 50 recorded steps.";
  info.limits =
      "Pretrained models start elsewhere, mostly lower, which is not judged, nor is a loss that is larger than logits "
      "in "
      "their range can make it (scaled, or with further terms). Class weights raise it. Tied embeddings with unit "
      "scale "
      "start high and come down at once.";
  info.options = {
      {"ratio", 3, "First loss over ln k, for a warning.", "TheDeepChecker: twice; random heads reach that."},
      {"distance", 2, "Nats above ln k, for a warning; half of it for information.",
       "The right class gets e² times less than it should."},
      {"mention-ratio", 1.5, "First loss over ln k, for information.",
       "Logits of unit scale give 1.2 for ten classes."},
      {"lasting-ratio", 1.5, "Loss over ln k at which it still is high after the first steps.", "As for the first."},
      {"steps", 50, "Recorded steps after which it must have come down.",
       "Some hundred updates: an epoch of a small set."},
  };
  info.references = {"Karpathy, A recipe for training neural networks, 2019",
                     "Ben Braiek and Khomh, TheDeepChecker, 2022"};
  info.effects = {{"exploding-gradient"}, {"diverging-loss"}, {"dead-units"}};
  return make_rule<InitialLoss>(std::move(info));
}

}  // namespace gradhealth::rules
