#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/module_groups.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "no-gradient";

class NoGradient final : public Judge {
 public:
  explicit NoGradient(const RuleOptions& options)
      : min_steps_(options.at("min-steps")), most_share_(options.at("most-share")), most_(options.at("max-findings")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    const std::vector<Subject>& parameters = run.of(Axis::kParameter);
    for (std::size_t i = states_.size(); i < parameters.size(); ++i) {
      subjects_.push_back(parameters[i]);
      states_.emplace_back();
      open_.push_back(i);
    }
    for (const Event& event : record.events)
      if (event.kind == "frozen-parameter") freeze(event.subject);
    for (const std::size_t i : open_) look_at(states_[i], record, i);
    // What has a gradient, or shall have none, is settled: large models have little else after the first step.
    open_.erase(std::remove_if(open_.begin(), open_.end(), [this](std::size_t i) { return is_settled(states_[i]); }),
                open_.end());
    if (was_looked_at(record)) {
      ++steps_;
      last_step_ = record.step;
    }
    alarm_.set(level());
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (steps_ == 0) return NotEvaluated{"no weights were recorded"};
    const std::vector<std::size_t> missing = missing_ones();
    if (missing.empty()) {
      if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
      return Healthy{};
    }
    if (missing.size() == trainable()) return unhealthy({all_of_them(missing)});
    std::vector<Finding> findings;
    for (const ModuleGroup& group : by_module(subjects_, missing)) findings.push_back(finding(group, missing));
    return unhealthy(std::move(findings), most_);
  }

 private:
  struct State {
    bool frozen = false;
    bool received = false;  ///< A gradient, or an update that somebody made without one.
    std::size_t steps = 0;  ///< Recorded steps at which its weights were read.
    std::int64_t first_step = 0;
  };

  void freeze(const std::string& name) {
    for (std::size_t i = 0; i < states_.size(); ++i)
      if (subjects_[i].name == name) states_[i].frozen = true;
  }

  static bool is_settled(const State& state) { return state.frozen || state.received; }

  static bool was_looked_at(const StepRecord& record) {
    return any_recorded(record, Quantity::kGradientNorm) || any_recorded(record, Quantity::kWeightNorm) ||
           any_recorded(record, Quantity::kGradientNonfinite);
  }

  static void look_at(State& state, const StepRecord& record, std::size_t index) {
    const bool gradient = !std::isnan(record.at(Quantity::kGradientNorm, index)) ||
                          !std::isnan(record.at(Quantity::kGradientNonfinite, index));
    state.received = state.received || gradient || record.at(Quantity::kUpdateRatio, index) > 0;
    if (std::isnan(record.at(Quantity::kWeightNorm, index))) return;
    if (state.steps++ == 0) state.first_step = record.step;
  }

  bool is_missing(const State& state) const {
    return !state.frozen && !state.received && static_cast<double>(state.steps) >= min_steps_;
  }

  std::vector<std::size_t> missing_ones() const {
    std::vector<std::size_t> missing;
    for (std::size_t i = 0; i < states_.size(); ++i)
      if (is_missing(states_[i])) missing.push_back(i);
    return missing;
  }

  std::size_t trainable() const {
    return static_cast<std::size_t>(
        std::count_if(states_.begin(), states_.end(), [](const State& state) { return !state.frozen; }));
  }

  std::size_t level() const {
    const auto missing = static_cast<std::size_t>(
        std::count_if(open_.begin(), open_.end(), [this](std::size_t i) { return is_missing(states_[i]); }));
    if (missing == 0) return 0;
    return 2 * missing + (missing == trainable() || harm_.stands_still() ? 1 : 0);
  }

  /// Everything in front of the first parameter that has a gradient is missing: the graph is cut there.
  std::optional<std::size_t> cut_before() const {
    for (std::size_t i = 0; i < states_.size(); ++i) {
      if (states_[i].frozen) continue;
      if (states_[i].received) return i;
      if (!is_missing(states_[i])) return std::nullopt;
    }
    return std::nullopt;
  }

  Finding all_of_them(const std::vector<std::size_t>& missing) const {
    const State& first = states_[missing[0]];
    Finding finding = new_finding(
        kId, Severity::kError, 0.95, {}, {first.first_step, last_step_},
        fmt::format("None of the {} trainable parameters has had a gradient in {} recorded steps: nothing is trained.",
                    missing.size(), first.steps));
    finding.evidence.push_back(steps_without(first, subjects_[missing[0]].name));
    Recommendation backward = keep_graph();
    backward.text = "Call backward() on a loss that is still attached to the model's forward pass.";
    finding.recommendations = {std::move(backward), unfreeze(missing)};
    return finding;
  }

  Finding finding(const ModuleGroup& group, const std::vector<std::size_t>& missing) const {
    const State& first = states_[group.parameters[0]];
    const std::string names = list_of(names_of(subjects_, group.parameters), 3);
    const auto cut = cut_before();
    const bool in_front = cut && group.parameters[0] < *cut;
    const double share = static_cast<double>(missing.size()) / static_cast<double>(trainable());
    const bool unused = !in_front && !harm_.any();
    const Severity severity = harm_.stands_still() && share > most_share_ ? Severity::kError
                              : unused                                    ? Severity::kInfo
                                                                          : Severity::kWarning;
    Finding finding = new_finding(
        kId, severity, unused ? 0.6 : 0.8, {{}, group.module, group.parameters.size() == 1 ? names : ""},
        {first.first_step, last_step_},
        fmt::format("{} never had a gradient in {} recorded steps, unlike other parameters{}; {}.", names, first.steps,
                    in_front ? fmt::format(": the graph is cut in front of {}", subjects_[*cut].module) : "",
                    harm_.words()));
    finding.evidence.push_back(steps_without(first, subjects_[group.parameters[0]].name));
    if (severity == Severity::kError)
      finding.evidence.push_back(
          evidence("share of the trainable parameters without gradient", share, ">", most_share_));
    if (in_front) finding.recommendations = {keep_graph(), unfreeze(group.parameters)};
    if (!in_front) finding.recommendations = {use_it(group), unfreeze(group.parameters)};
    return finding;
  }

  Evidence steps_without(const State& state, const std::string& name) const {
    return evidence("recorded steps without a gradient", static_cast<double>(state.steps), "≥", min_steps_,
                    Quantity::kGradientNorm, name);
  }

  static Recommendation keep_graph() {
    Recommendation advice;
    advice.id = "keep-graph";
    advice.text = "Keep the graph: no detach(), NoGradGuard, .data(), item() or conversion between this and the loss.";
    advice.why = "Autograd goes back only along operators that it has recorded.";
    advice.code =
        "TORCH_CHECK(loss.requires_grad(), \"the loss is detached from the model\");\n"
        "for (const auto& p : net->named_parameters())\n"
        "  if (p.value().requires_grad() && !p.value().grad().defined()) std::cerr << p.key() << \" has no "
        "gradient\\n\";";
    advice.confidence = 0.7;
    return advice;
  }

  static Recommendation use_it(const ModuleGroup& group) {
    Recommendation advice;
    advice.id = "use-in-forward";
    const std::string module = group.module.empty() ? "the parameter" : group.module;
    advice.text = fmt::format("Use {} in forward() on the way to the loss, or take it out of the model.", module);
    advice.why = "A parameter that the loss does not depend on is never trained.";
    advice.code = fmt::format("// in forward, on the way to the loss:\nx = {}->forward(x);",
                              group.module.empty() ? "net" : group.module.substr(group.module.rfind('.') + 1));
    advice.confidence = 0.6;
    return advice;
  }

  Recommendation unfreeze(const std::vector<std::size_t>& parameters) const {
    const std::string& name = subjects_[parameters[0]].name;
    Recommendation advice;
    advice.id = "unfreeze";
    advice.text = fmt::format("Let {} require a gradient if it shall be trained, and say so if it shall not.", name);
    advice.why = "requires_grad=false tells readers, optimizers and this rule that a parameter is frozen on purpose.";
    advice.code = fmt::format(
        "net->named_parameters()[\"{0}\"].set_requires_grad(true);\n"
        "// frozen on purpose: net->named_parameters()[\"{0}\"].set_requires_grad(false);",
        name);
    advice.confidence = 0.5;
    return advice;
  }

  double min_steps_;
  double most_share_;
  double most_;
  LossHarm harm_;
  Alarm alarm_;
  std::vector<Subject> subjects_;
  std::vector<State> states_;
  std::vector<std::size_t> open_;  ///< Those that had no gradient so far, and are not frozen.
  std::size_t steps_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule no_gradient() {
  RuleInfo info;
  info.id = kId;
  info.title = "Parameters never receive a gradient";
  info.meaning =
      "The loss does not depend on these parameters, or autograd does not know that it does: a detach(), a "
      "NoGradGuard, a conversion to numbers, or a module that forward() leaves out. They keep their initial values.";
  info.method =
      "Looks for trainable parameters whose weights were read at several recorded steps and whose gradient was never "
      "there, nor any update. All of them: error. If everything in front of the first parameter with a gradient has "
      "none, the graph is cut there: warning. Otherwise it is a part that is not used: information, a warning if the "
      "loss suffers. An error if more than half are without and the loss stands still. One finding a module.";
  info.limits =
      "Parameters with requires_grad=false are frozen on purpose and not looked at. A backbone that is run under "
      "NoGradGuard on purpose gets a warning; requires_grad=false says the same without one. Whole columns of zeros, "
      "as "
      "LibTorch 1.13 leaves behind zero_grad(), are gradients.";
  info.options = {
      min_steps_option(10),
      {"most-share", 0.5, "Share of the trainable parameters without gradient, for an error.",
       "Fewer may be a head that is not used yet."},
      {"max-findings", 8, "Modules that get a finding of their own.", "What a person reads."},
  };
  info.references = {"Jiang et al., TrainCheck, OSDI 2025", "PyTorch documentation, Autograd mechanics"};
  info.effects = {{"vanishing-gradient"}, {"collapsed-output"}, {"no-better-than-constant"}, {"plateaued-loss"}};
  return make_rule<NoGradient>(std::move(info));
}

}  // namespace gradhealth::rules
