#include <algorithm>
#include <cmath>
#include <map>
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

constexpr const char* kId = "zero-gradient";
constexpr const char* kListZeros =
    "for (const auto& p : net->named_parameters())\n"
    "  if (p.value().grad().defined() && !p.value().grad().any().item<bool>()) std::cerr << p.key() << \": 0\\n\";";
constexpr double kMostlyDead = 0.9;  ///< Share of a layer's units: what lies in front of it gets next to nothing.

class ZeroGradient final : public Judge {
 public:
  explicit ZeroGradient(const RuleOptions& options)
      : wanted_(options.at("steps")), floor_(options.at("loss-floor")), most_(options.at("max-findings")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    const std::vector<Subject>& parameters = run.of(Axis::kParameter);
    for (std::size_t i = states_.size(); i < parameters.size(); ++i) {
      subjects_.push_back(parameters[i]);
      states_.emplace_back();
      calm_ = false;
    }
    dead_ = dead_ || has_dead_layer(record);
    // Without updates a part that starts at zero stays there, and what lies behind it has no gradient.
    if (record.at(Quantity::kLearningRate) == 0) return;
    if (calm_ && all_positive(record.values(Quantity::kGradientNorm))) {
      ++steps_;
      alarm_.set(0);
      return;
    }
    std::size_t known = 0;
    for (std::size_t i = 0; i < states_.size(); ++i) known += look_at(states_[i], record, i) ? 1 : 0;
    if (known == 0) return;
    ++steps_;
    calm_ = wanted_ > 0 && std::all_of(states_.begin(), states_.end(), is_calm);
    alarm_.set(level());
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (steps_ == 0) return NotEvaluated{"no gradients were recorded"};
    const std::vector<std::size_t> zeros = zero_ones();
    if (zeros.empty() || at_its_floor()) {
      if (static_cast<double>(steps_) < wanted_) return too_few_steps(steps_, wanted_);
      return Healthy{};
    }
    if (zeros.size() == seen()) return unhealthy({all_of_them(zeros)});
    std::vector<Finding> findings;
    for (const std::vector<std::size_t>& group : by_onset(zeros)) findings.push_back(finding(group));
    return unhealthy(std::move(findings), most_);
  }

 private:
  struct State {
    std::size_t streak = 0;  ///< Recorded steps in a row in which every element of the gradient was 0.
    std::int64_t since = 0;
    std::int64_t last = 0;
    bool seen = false;
    bool from_start = true;  ///< It never had another gradient.
  };

  static bool look_at(State& state, const StepRecord& record, std::size_t index) {
    const double norm = record.at(Quantity::kGradientNorm, index);
    if (std::isnan(norm)) return false;
    state.seen = true;
    if (norm != 0 || record.at(Quantity::kGradientNonfinite, index) > 0) {
      state.streak = 0;
      state.from_start = false;
      return true;
    }
    if (state.streak++ == 0) state.since = record.step;
    state.last = record.step;
    return true;
  }

  /// Another gradient than 0 changes nothing about it.
  static bool is_calm(const State& state) { return state.seen && state.streak == 0 && !state.from_start; }

  bool all_positive(const std::vector<double>& norms) const {
    return norms.size() == states_.size() && !norms.empty() &&
           std::all_of(norms.begin(), norms.end(), [](double norm) { return norm > 0; });
  }

  static bool has_dead_layer(const StepRecord& record) {
    const auto has = [&record](Quantity quantity, double least) {
      const std::vector<double>& values = record.values(quantity);
      return std::any_of(values.begin(), values.end(), [=](double value) { return value >= least; });
    };
    return has(Quantity::kActivationDeadFraction, kMostlyDead) || has(Quantity::kActivationZeroFraction, 1);
  }

  bool is_zero(const State& state) const { return static_cast<double>(state.streak) >= wanted_; }

  std::vector<std::size_t> zero_ones() const {
    std::vector<std::size_t> zeros;
    for (std::size_t i = 0; i < states_.size(); ++i)
      if (is_zero(states_[i])) zeros.push_back(i);
    return zeros;
  }

  /// What fell silent at one step did so for one reason.
  std::vector<std::vector<std::size_t>> by_onset(const std::vector<std::size_t>& zeros) const {
    std::map<std::int64_t, std::vector<std::size_t>> groups;
    for (const std::size_t i : zeros) groups[states_[i].since].push_back(i);
    std::vector<std::vector<std::size_t>> list;
    for (auto& [onset, group] : groups) list.push_back(std::move(group));
    return list;
  }

  std::size_t seen() const {
    return static_cast<std::size_t>(
        std::count_if(states_.begin(), states_.end(), [](const State& state) { return state.seen; }));
  }

  /// A loss of zero has no gradient, and needs none.
  bool at_its_floor() const {
    const LossTrack& loss = harm_.loss();
    return loss.count() > 0 && std::abs(loss.recent()) <= floor_ * std::abs(loss.start());
  }

  std::size_t level() const {
    if (at_its_floor()) return 0;
    const std::vector<std::size_t> zeros = zero_ones();
    if (zeros.empty()) return 0;
    return 4 * zeros.size() + (zeros.size() == seen() ? 2 : 0) + (severity_of(zeros) == Severity::kInfo ? 0 : 1);
  }

  /// A bias beside weights that have a gradient: nothing stands between them and the loss. It does not change when all
  /// outputs of the layer move alike, as where it compares outputs with one another.
  bool cancels(std::size_t index) const {
    const Subject& bias = subjects_[index];
    if (bias.module.empty() || bias.name.size() < 4 || bias.name.compare(bias.name.size() - 4, 4, "bias") != 0)
      return false;
    for (std::size_t i = 0; i < states_.size(); ++i)
      if (i != index && subjects_[i].module == bias.module && states_[i].seen && states_[i].streak == 0) return true;
    return false;
  }

  bool cancel(const std::vector<std::size_t>& group) const {
    return std::all_of(group.begin(), group.end(), [this](std::size_t i) { return cancels(i); });
  }

  Severity severity_of(const std::vector<std::size_t>& group) const {
    return harm_.learns() || cancel(group) ? Severity::kInfo : Severity::kWarning;
  }

  Evidence streak_of(std::size_t index) const {
    return evidence("recorded steps in a row with a gradient of exactly 0", static_cast<double>(states_[index].streak),
                    "≥", wanted_, Quantity::kGradientNorm, subjects_[index].name);
  }

  Finding all_of_them(const std::vector<std::size_t>& zeros) const {
    const std::size_t last_to_die = *std::max_element(
        zeros.begin(), zeros.end(), [&](std::size_t a, std::size_t b) { return states_[a].since < states_[b].since; });
    const State& state = states_[last_to_die];
    Finding finding = new_finding(
        kId, harm_.learns() ? Severity::kWarning : Severity::kError, 0.9, {}, {state.since, state.last},
        fmt::format("The gradients of all {} parameters have been exactly 0 since step {}, for {} recorded steps, "
                    "while {}: nothing is learned any more.",
                    zeros.size(), state.since, state.streak, harm_.words()));
    finding.evidence.push_back(streak_of(last_to_die));
    if (dead_)
      finding.recommendations = {leaky(), unsaturate()};
    else
      finding.recommendations = {check_path(""), unsaturate()};
    return finding;
  }

  Finding finding(const std::vector<std::size_t>& group) const {
    const State& state = states_[group[0]];
    const std::string names = list_of(names_of(subjects_, group), 4);
    const std::string& module = subjects_[group[0]].module;
    Finding finding = new_finding(
        kId, severity_of(group), 0.8, {{}, module, group.size() == 1 ? names : ""}, {state.since, state.last},
        fmt::format(
            "The gradient of {} has been exactly 0 in every element since step {}, for {} recorded steps, while "
            "other parameters have one; {}.",
            names, state.since, state.streak, harm_.words()));
    finding.evidence.push_back(streak_of(group[0]));
    if (cancel(group)) {
      finding.message +=
          " The weights beside it have a gradient: the loss does not change when all outputs of the layer move alike, "
          "as where outputs are compared with one another.";
      finding.recommendations = {keep_bias()};
      return finding;
    }
    finding.recommendations = {check_path(module)};
    if (dead_) {
      // Dead from the start: nothing was pushed out of range by training.
      const bool first = !state.from_start;
      finding.recommendations.insert(first ? finding.recommendations.begin() : finding.recommendations.end(), leaky());
    }
    return finding;
  }

  static Recommendation keep_bias() {
    Recommendation advice;
    advice.id = "leave-bias";
    advice.text = "Nothing needs to be done. If outputs are not meant to be compared, look at the loss.";
    advice.why = "Such a bias stays where it began; a layer without it would do the same.";
    advice.code = kListZeros;
    advice.confidence = 0.7;
    return advice;
  }

  static Recommendation leaky() {
    Recommendation advice;
    advice.id = "use-leaky-relu";
    advice.text = "Use leaky ReLU (or GELU) behind these weights.";
    advice.why = "Its derivative is nowhere 0, so that units that were pushed below zero still learn.";
    advice.code = "x = torch::leaky_relu(x, 0.01);";
    advice.confidence = 0.6;
    return advice;
  }

  static Recommendation unsaturate() {
    Recommendation advice;
    advice.id = "pass-logits";
    advice.text = "Give the loss logits, not outputs of a softmax or sigmoid; a guess, if there is one in front of it.";
    advice.why = "A saturated softmax or sigmoid, or a softmax over a single unit, has derivative exactly 0.";
    advice.code = "loss = torch::cross_entropy_loss(output, target);  // output: logits";
    advice.confidence = 0.4;
    return advice;
  }

  static Recommendation check_path(const std::string& module) {
    Recommendation advice;
    advice.id = "open-gradient-path";
    advice.text =
        fmt::format("Look at what lies between {} and the loss: a factor 0, a mask, a clamp, a rounding or an argmax.",
                    module.empty() ? "the parameters" : module);
    advice.why = "It does take part in the loss, but through something whose derivative is 0 everywhere.";
    advice.code = kListZeros;
    advice.confidence = 0.5;
    return advice;
  }

  double wanted_;
  double floor_;
  double most_;
  LossHarm harm_;
  Alarm alarm_;
  std::vector<Subject> subjects_;
  std::vector<State> states_;
  std::size_t steps_ = 0;
  bool calm_ = false;  ///< All states are.
  bool dead_ = false;  ///< A layer of dead units was seen.
};

}  // namespace

Rule zero_gradient() {
  RuleInfo info;
  info.id = kId;
  info.title = "Gradient is exactly zero";
  info.meaning =
      "Parameters take part in the loss, but every element of their gradient is exactly 0, step after step: a factor "
      "0, a mask, a dead or saturated layer stands between them and the loss. They do not learn.";
  info.method =
      "Counts recorded steps in a row in which a parameter's gradient norm is exactly 0 while the learning rate is "
      "not. "
      "All parameters: error, unless the loss has come to its floor. Some: warning, one for all that fell silent at "
      "the "
      "same step; information if the loss is below half of its start, or if they are biases beside "
      "weights that have a gradient.";
  info.limits =
      "A residual branch or adapter that starts at zero has such gradients in its first step only. Rows of padding are "
      "no whole parameter. A loss below a hundredth of its start has no gradient and needs none.";
  info.options = {
      {"steps", 20, "Recorded steps in a row with a gradient of exactly 0.",
       "Adapters and residual branches that start at zero need one step, rare branches a few."},
      {"loss-floor", 0.01, "Loss over its start, below which no gradient is needed.",
       "Interpolating nets reach a gradient of exactly 0 in single precision."},
      {"max-findings", 8, "Onsets that get a finding of their own.", "What a person reads."},
  };
  info.references = {"Ben Braiek, Khomh, TheDeepChecker, 2023", "Schoop et al., UMLAUT, CHI 2021"};
  info.effects = {{"vanishing-gradient"},
                  {"jacobian-growth"},
                  {"collapsed-output"},
                  {"no-better-than-constant"},
                  {"plateaued-loss"}};
  return make_rule<ZeroGradient>(std::move(info));
}

}  // namespace gradhealth::rules
