#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/module_groups.h"
#include "rules/support/new_finding.h"
#include "rules/support/norm_modules.h"
#include "rules/support/optimizer_advice.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "parameter-not-optimized";

class ParameterNotOptimized final : public Judge {
 public:
  explicit ParameterNotOptimized(const RuleOptions& options)
      : min_steps_(options.at("min-steps")), most_(options.at("max-findings")) {}

  void observe(const Run& run, const StepRecord& record) override {
    if (info_.optimizer != run.info.optimizer) info_ = run.info;
    harm_.observe(run, record);
    const std::vector<Subject>& parameters = run.of(Axis::kParameter);
    for (std::size_t i = states_.size(); i < parameters.size(); ++i) {
      subjects_.push_back(parameters[i]);
      states_.emplace_back();
    }
    norms_.update(run);
    if (const double rate = record.at(Quantity::kLearningRate); rate > 0) rate_ = rate;
    for (const Event& event : record.events) take_in(event);
    for (const std::size_t i : left_out_) look_at(states_[i], record, i);
    // Files of before this was looked for have none of these.
    if (!std::isnan(record.at(Quantity::kUpdateGradientCosine)) || any_recorded(record, Quantity::kUnchangedFraction) ||
        !std::isnan(record.at(Quantity::kOptimizerStateNonfinite)))
      ++steps_;
    last_step_ = record.step;
    alarm_.set(level());
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    const std::vector<std::size_t> idle = idle_ones();
    if (!idle.empty()) {
      if (idle.size() == trainable()) return unhealthy({all_of_them(idle)});
      std::vector<Finding> findings;
      for (const ModuleGroup& group : by_module(subjects_, idle)) findings.push_back(finding(group));
      return unhealthy(std::move(findings), most_);
    }
    if (info_.optimizer.empty()) return NotEvaluated{"the monitor was given no optimizer"};
    if (steps_ == 0) return NotEvaluated{"the optimizer's parameters were not looked at"};
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    return Healthy{};
  }

 private:
  struct State {
    bool left_out = false;  ///< The optimizer does not hold it.
    bool frozen = false;
    bool moved = false;     ///< Somebody updates it: another optimizer, an average.
    std::size_t still = 0;  ///< Recorded steps with a gradient and without an update.
    std::int64_t since = 0;
  };

  void take_in(const Event& event) {
    const bool left_out = event.kind == kId;
    const bool frozen = event.kind == "frozen-parameter";
    if (event.kind == "optimizer-holds-stranger") ++strangers_;
    if (!left_out && !frozen) return;
    for (std::size_t i = 0; i < states_.size(); ++i) {
      if (subjects_[i].name != event.subject) continue;
      if (left_out && !states_[i].left_out) states_[i].since = event.step;
      if (left_out && !states_[i].left_out) left_out_.push_back(i);
      states_[i].left_out = states_[i].left_out || left_out;
      states_[i].frozen = states_[i].frozen || frozen;
    }
  }

  static void look_at(State& state, const StepRecord& record, std::size_t index) {
    const double update = record.at(Quantity::kUpdateRatio, index);
    if (update > 0) state.moved = true;
    if (record.at(Quantity::kGradientNorm, index) > 0 && !(update > 0)) ++state.still;
  }

  bool is_idle(const State& state) const {
    return state.left_out && !state.frozen && !state.moved && static_cast<double>(state.still) >= min_steps_;
  }

  std::vector<std::size_t> idle_ones() const {
    std::vector<std::size_t> idle;
    for (std::size_t i = 0; i < states_.size(); ++i)
      if (is_idle(states_[i])) idle.push_back(i);
    return idle;
  }

  std::size_t trainable() const {
    return static_cast<std::size_t>(
        std::count_if(states_.begin(), states_.end(), [](const State& state) { return !state.frozen; }));
  }

  std::size_t level() const {
    const auto idle = static_cast<std::size_t>(
        std::count_if(left_out_.begin(), left_out_.end(), [this](std::size_t i) { return is_idle(states_[i]); }));
    return idle == 0 ? 0 : 2 * idle + (harm_.stands_still() || idle == trainable() ? 1 : 0);
  }

  Evidence still_at(std::size_t index) const {
    return evidence("recorded steps with a gradient and without an update", static_cast<double>(states_[index].still),
                    "≥", min_steps_, Quantity::kUpdateRatio, subjects_[index].name);
  }

  std::string strangers() const {
    return strangers_ == 0 ? "" : fmt::format("; it holds {} tensors that the model does not have", strangers_);
  }

  Finding all_of_them(const std::vector<std::size_t>& idle) const {
    Finding finding = new_finding(
        kId, Severity::kError, 0.95, {}, {states_[idle[0]].since, last_step_},
        fmt::format("The optimizer holds none of the model's {} trainable parameters{}: nothing is trained.",
                    idle.size(), strangers()));
    finding.evidence.push_back(still_at(idle[0]));
    finding.recommendations.push_back(rebuild_optimizer(info_, rate_));
    return finding;
  }

  Finding finding(const ModuleGroup& group) const {
    const std::string names = list_of(names_of(subjects_, group.parameters), 3);
    // Fine-tuning leaves normalisations as they are.
    const Severity lenient = norms_.contains(group.module) ? Severity::kInfo : Severity::kWarning;
    Finding finding = new_finding(
        kId, harm_.stands_still() ? Severity::kError : lenient, 0.85,
        {{}, group.module, group.parameters.size() == 1 ? names : ""}, {states_[group.parameters[0]].since, last_step_},
        fmt::format("The optimizer does not hold {}, which {} a gradient and stay{} as at the start{}; {}.", names,
                    group.parameters.size() == 1 ? "has" : "have", group.parameters.size() == 1 ? "s" : "", strangers(),
                    harm_.words()));
    finding.evidence.push_back(still_at(group.parameters[0]));
    finding.recommendations.push_back(rebuild_optimizer(info_, rate_));
    Recommendation freeze;
    freeze.id = "freeze-parameter";
    freeze.text = fmt::format("Or freeze {}, if it shall stay as it is.", list_of({names}, 1));
    freeze.why = "requires_grad=false saves the gradient and says that it is meant.";
    for (const std::size_t i : group.parameters)
      freeze.code += fmt::format("{}net->named_parameters()[\"{}\"].set_requires_grad(false);",
                                 freeze.code.empty() ? "" : "\n", subjects_[i].name);
    freeze.confidence = 0.5;
    finding.recommendations.push_back(std::move(freeze));
    return finding;
  }

  double min_steps_;
  double most_;
  RunInfo info_;
  LossHarm harm_;
  NormModules norms_;
  Alarm alarm_;
  std::vector<Subject> subjects_;
  std::vector<State> states_;
  std::vector<std::size_t> left_out_;  ///< Those that the optimizer does not hold, hardly ever any.
  std::size_t strangers_ = 0;
  std::size_t steps_ = 0;
  std::int64_t last_step_ = 0;
  std::optional<double> rate_;
};

}  // namespace

Rule parameter_not_optimized() {
  RuleInfo info;
  info.id = kId;
  info.title = "Optimizer does not hold parameters";
  info.meaning =
      "Parameters of the model are not among those that the optimizer updates: modules that were added or replaced "
      "after "
      "it was built, or a list that leaves some out. They get gradients and keep their initial values.";
  info.method =
      "Compares the optimizer's tensors with the model's parameters. A finding needs a parameter that it does not "
      "hold, "
      "that has a gradient at several recorded steps and that nobody updates. One a module. All of them: error; "
      "otherwise a warning, information for normalisations, an error if the loss stands still.";
  info.limits =
      "Parameters that a second optimizer updates move and are healthy. Frozen ones, and those without a gradient, are "
      "not looked at.";
  info.options = {
      {"min-steps", 5, "Recorded steps with a gradient and without an update; also before a run is called healthy.",
       "As many as step-without-effect waits for."},
      {"max-findings", 8, "Modules that get a finding of their own.", "What a person reads."},
  };
  info.references = {"Jiang et al., TrainCheck, OSDI 2025"};
  info.effects = {{"step-without-effect"}, {"symmetric-weight"},        {"dead-units"},
                  {"vanishing-gradient"},  {"no-better-than-constant"}, {"plateaued-loss"}};
  return make_rule<ParameterNotOptimized>(std::move(info));
}

}  // namespace gradhealth::rules
