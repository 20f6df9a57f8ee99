#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/loss_harm.h"
#include "rules/support/norm_modules.h"
#include "rules/support/optimizer_advice.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "step-without-effect";
constexpr double kUsualRate = 0.01;  ///< Stands in for a learning rate that was not recorded.

/// Rounding error of a type over that of single precision.
double coarseness(const std::string& dtype) {
  if (dtype == "float16") return 1 << 13;
  return dtype == "bfloat16" ? 1 << 16 : 1;
}

class StepWithoutEffect final : public Judge {
 public:
  explicit StepWithoutEffect(const RuleOptions& options)
      : wanted_(options.at("steps")),
        min_steps_(options.at("min-steps")),
        rounding_(options.at("rounding")),
        most_(options.at("max-findings")) {}

  void observe(const Run& run, const StepRecord& record) override {
    if (steps_ == 0) info_ = run.info;
    harm_.observe(run, record);
    const std::vector<Subject>& parameters = run.of(Axis::kParameter);
    for (std::size_t i = states_.size(); i < parameters.size(); ++i) {
      subjects_.push_back(parameters[i]);
      states_.emplace_back();
    }
    norms_.update(run);
    const double rate = record.at(Quantity::kLearningRate);
    if (std::isfinite(rate)) rate_ = rate;
    bool seen = false;
    const bool no_rate = rate == 0;
    const std::size_t updates = std::min(states_.size(), record.values(Quantity::kUpdateRatio).size());
    for (std::size_t i = 0; i < updates; ++i) seen |= observe_parameter(i, record, no_rate);
    if (!seen) return;
    ++steps_;
    if (no_rate) {
      if (zero_rate_steps_++ == 0) zero_rate_since_ = record.step;
      zero_rate_last_ = record.step;
    } else {
      zero_rate_steps_ = 0;
    }
    const std::size_t still = count_still();
    if (still > most_still_) {
      most_still_ = still;
      ++alarms_;
    }
    if (!rate_is_dead_ && no_rate && static_cast<double>(zero_rate_steps_) >= min_steps_ && harm_.stands_still()) {
      rate_is_dead_ = true;
      ++alarms_;
    }
  }

  std::size_t alarms() const override { return alarms_; }

  Outcome outcome() const override {
    const std::size_t still = count_still();
    std::size_t moved = 0;
    for (const State& state : states_) moved += state.moved && !is_still(state) ? 1 : 0;
    std::vector<Finding> findings;
    if (still > 0 && moved == 0) findings.push_back(nothing_moves(still));
    if (still > 0 && moved > 0) findings = some_stand_still();
    if (!findings.empty()) return unhealthy(std::move(findings), most_);
    if (steps_ == 0) return NotEvaluated{"no gradient was recorded together with the update that it caused"};
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    if (static_cast<double>(zero_rate_steps_) >= min_steps_) return unhealthy({zero_rate()});
    return Healthy{};
  }

 private:
  struct State {
    std::size_t streak = 0;  ///< Recorded steps in a row with a gradient and without an update.
    std::int64_t since = 0;
    std::int64_t last = 0;
    double gradient = 0;
    bool moved = false;
    bool audible = false;  ///< The gradient is large enough to survive rounding.
  };

  /// Whether this step says anything about this parameter.
  bool observe_parameter(std::size_t index, const StepRecord& record, bool no_rate) {
    State& state = states_[index];
    const double gradient = record.at(Quantity::kGradientNorm, index);
    const double update = record.at(Quantity::kUpdateRatio, index);
    if (!std::isfinite(gradient) || std::isnan(update) || record.at(Quantity::kGradientNonfinite, index) > 0)
      return false;
    if (update != 0) {
      state.streak = 0;
      state.moved = true;
      return true;
    }
    if (no_rate || gradient == 0) return true;
    if (state.streak++ == 0) state.since = record.step;
    state.last = record.step;
    state.gradient = gradient;
    const double step = rate_.value_or(kUsualRate) * gradient;
    state.audible = !(step < rounding_ * coarseness(subjects_[index].dtype) * record.at(Quantity::kWeightNorm, index));
    return true;
  }

  bool is_still(const State& state) const { return static_cast<double>(state.streak) >= wanted_; }

  const Subject& subject_of(const State& state) const {
    return subjects_[static_cast<std::size_t>(&state - states_.data())];
  }

  std::size_t count_still() const {
    std::size_t still = 0;
    for (const State& state : states_) still += is_still(state) ? 1 : 0;
    return still;
  }

  Evidence streak_of(const State& state) const {
    return evidence("recorded steps in a row with a gradient and an update of exactly 0",
                    static_cast<double>(state.streak), "≥", wanted_, Quantity::kUpdateRatio, subject_of(state).name);
  }

  Finding nothing_moves(std::size_t still) const {
    const State& first = *std::min_element(states_.begin(), states_.end(), [this](const State& a, const State& b) {
      return std::pair(!is_still(a), a.since) < std::pair(!is_still(b), b.since);
    });
    Finding finding;
    finding.rule = kId;
    finding.severity = Severity::kError;
    finding.first_step = first.since;
    finding.last_step = first.last;
    finding.message = fmt::format(
        "No parameter has changed since step {}, for {} recorded steps, although all {} have "
        "gradients (|g| = {} at {}){}.",
        first.since, first.streak, still, number(first.gradient), subject_of(first).name,
        rate_ ? fmt::format(" and the learning rate is {}", number(*rate_)) : "");
    finding.evidence.push_back(streak_of(first));
    finding.recommendations = {rebuild_optimizer(info_, rate_), call_step()};
    return finding;
  }

  std::vector<Finding> some_stand_still() const {
    std::vector<Finding> findings;
    for (const State& state : states_) {
      if (!is_still(state) || !state.audible) continue;
      Finding finding;
      finding.rule = kId;
      // Fine-tuning leaves normalisations as they are.
      finding.severity = norms_.contains(subject_of(state).module) ? Severity::kInfo : Severity::kWarning;
      finding.confidence = 0.8;
      finding.subject = ref(subject_of(state));
      finding.first_step = state.since;
      finding.last_step = state.last;
      finding.message = fmt::format(
          "{} has a gradient (|g| = {}) but has not changed since step {}, for {} recorded "
          "steps; other parameters do change.",
          subject_of(state).name, number(state.gradient), state.since, state.streak);
      finding.evidence.push_back(streak_of(state));
      finding.recommendations = {add_to_optimizer(subject_of(state).name)};
      findings.push_back(std::move(finding));
    }
    return findings;
  }

  Finding zero_rate() const {
    Finding finding;
    finding.rule = kId;
    // A schedule may end at 0; one that never leaves it trains nothing.
    finding.severity = harm_.stands_still() && zero_rate_steps_ == steps_ ? Severity::kError : Severity::kInfo;
    finding.first_step = zero_rate_since_;
    finding.last_step = zero_rate_last_;
    finding.message =
        fmt::format("The learning rate has been 0 for {} recorded steps, since step {}: nothing is trained.",
                    zero_rate_steps_, zero_rate_since_);
    finding.evidence.push_back(evidence("learning rate", 0, "=", 0, Quantity::kLearningRate));
    Recommendation raise;
    raise.id = "raise-learning-rate";
    raise.text = "Set a learning rate above 0, or check the schedule; 0.001 is a guess.";
    raise.why = "A schedule that starts at 0 must be stepped, and one that ends at 0 has ended.";
    raise.code = "for (auto& group : optimizer.param_groups()) group.options().set_lr(0.001);";
    raise.confidence = 0.4;
    finding.recommendations.push_back(std::move(raise));
    return finding;
  }

  static Recommendation call_step() {
    Recommendation advice;
    advice.id = "call-optimizer-step";
    advice.text = "Call optimizer.step() after backward(), once for every batch.";
    advice.why = "backward() computes gradients only.";
    advice.code = "optimizer.zero_grad();\nloss.backward();\noptimizer.step();";
    advice.confidence = 0.6;
    return advice;
  }

  static Recommendation add_to_optimizer(const std::string& parameter) {
    Recommendation advice;
    advice.id = "add-parameter-to-optimizer";
    advice.text = fmt::format("Give {} to the optimizer, or freeze it if it shall stay.", parameter);
    advice.why = "A gradient that nobody applies costs time and trains nothing.";
    advice.code = fmt::format(
        "optimizer.add_parameters({{net->named_parameters()[\"{0}\"]}});\n"
        "// to freeze it instead: net->named_parameters()[\"{0}\"].set_requires_grad(false);",
        parameter);
    advice.confidence = 0.7;
    return advice;
  }

  double wanted_;
  double min_steps_;
  double rounding_;
  double most_;
  RunInfo info_;
  LossHarm harm_;
  NormModules norms_;
  std::vector<Subject> subjects_;
  std::vector<State> states_;  ///< As subjects_, apart from them: these are looked at in every step.
  std::size_t steps_ = 0;
  std::size_t alarms_ = 0;
  std::size_t most_still_ = 0;
  bool rate_is_dead_ = false;
  std::size_t zero_rate_steps_ = 0;
  std::int64_t zero_rate_since_ = 0;
  std::int64_t zero_rate_last_ = 0;
  std::optional<double> rate_;
};

}  // namespace

Rule step_without_effect() {
  RuleInfo info;
  info.id = kId;
  info.title = "Steps have no effect";
  info.meaning =
      "Parameters receive gradients but do not change. The optimizer holds other tensors than the model, step() is not "
      "called, or updates are so small that rounding swallows them.";
  info.method =
      "Counts recorded steps in a row in which a parameter's gradient is finite and not 0 while its update is exactly "
      "0 and the learning rate is not. All parameters: error. Some: warning, of normalisations information. A learning "
      "rate of 0 that lasts is information.";
  info.limits =
      "Needs update ratios. A parameter that is deliberately left out of the optimizer but not frozen gets a warning. "
      "Skipped steps with non-finite gradients do not count.";
  info.options = {
      {"steps", 5, "Recorded steps in a row without effect.", "One skipped step is ordinary, five are not."},
      min_steps_option(10),
      {"rounding", 1e-6,
       "Learning rate times gradient norm over weight norm, below which rounding may swallow a single parameter's "
       "update; in half precision as many times as much as it is coarser.",
       "Sixteen times the rounding error of single precision; biases in front of a norm layer have gradients of "
       "1e-10."},
      {"max-findings", 8, "Parameters that get a finding of their own.", "What a person reads."},
  };
  info.references = {"Jiang et al., TrainCheck, OSDI 2025"};
  info.effects = {{"collapsed-output"}, {"no-better-than-constant"}, {"plateaued-loss"}};
  return make_rule<StepWithoutEffect>(std::move(info));
}

}  // namespace gradhealth::rules
