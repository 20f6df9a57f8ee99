#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/event_fields.h"
#include "rules/support/layers.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "loop-order";

class LoopOrder final : public Judge {
 public:
  explicit LoopOrder(const RuleOptions& options)
      : steps_(options.at("steps")), share_(options.at("share")), min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    if (const double limit = record.at(Quantity::kClipThreshold); limit > 0) clip_ = limit;
    take_events(run, record);
    observe_gradients(run, record);
    observe_updates(record);
    last_step_ = record.step;
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (severity()) return unhealthy({finding()});
    if (gone_.judged == 0) return NotEvaluated{"no gradients of activations were recorded beside those of parameters"};
    if (static_cast<double>(gone_.judged) < min_steps_) return too_few_steps(gone_.judged, min_steps_);
    return Healthy{};
  }

 private:
  void take_events(const Run& run, const StepRecord& record) {
    for (const Event& event : record.events) {
      if (event.kind == "frozen-parameter") {
        const std::vector<Subject>& parameters = run.of(Axis::kParameter);
        frozen_.resize(parameters.size(), 0);
        for (std::size_t i = 0; i < parameters.size(); ++i)
          if (parameters[i].name == event.subject) frozen_[i] = 1;
      }
      if (event.kind != "loop-order") continue;
      const std::string pattern = field(fields_of(event.text), "pattern");
      if (pattern == "cleared-before-update" && !cleared_) cleared_ = event.step;
      if (pattern == "changed-after-update" && !changed_) changed_ = event.step;
    }
  }

  void observe_gradients(const Run& run, const StepRecord& record) {
    const std::size_t parameters = run.of(Axis::kParameter).size();
    const auto frozen = static_cast<std::size_t>(std::count(frozen_.begin(), frozen_.end(), std::uint8_t{1}));
    if (parameters == 0 || frozen >= parameters || record.at(Quantity::kLossNonfinite) > 0) return;
    if (count_nonfinite(record, Quantity::kActivationNonfinite).subjects > 0) return;
    if (count_nonfinite(record, Quantity::kActivationGradientNonfinite).subjects > 0) return;
    layers_.update(run);
    const std::vector<double>& found = record.values(Quantity::kGradientNorm);
    const Arrival arrival = arrival_in(record);
    if (arrival == Arrival::kNone) return;
    const bool any =
        record.at(Quantity::kGlobalGradientNorm) > 0 ||
        std::any_of(found.begin(), found.end(), [](double norm) { return norm != 0 && !std::isnan(norm); });
    // What was cleared before the step was recorded has taken the activations' gradients with it.
    if (arrival == Arrival::kForgotten && !any && std::find(found.begin(), found.end(), 0.0) == found.end()) return;
    gone_.add(!any, record.step);
    if (!any) forgotten_ = arrival == Arrival::kForgotten;
  }

  enum class Arrival {
    kNone,       ///< Some layer gets no gradient, or nothing is known: zeros behind it are no wonder.
    kEverywhere,
    kForgotten,  ///< Outputs were recorded, and none of them has a gradient.
  };

  Arrival arrival_in(const StepRecord& record) const {
    std::size_t outputs = 0;
    std::size_t known = 0;
    std::size_t arrived = 0;
    bool first = false;
    for (const Layer& layer : layers_.all()) {
      if (!layer.activation) continue;
      outputs += std::isnan(record.at(Quantity::kActivationRms, *layer.activation)) ? 0 : 1;
      const double norm = record.at(Quantity::kActivationGradientNorm, *layer.activation);
      if (std::isnan(norm)) continue;
      const bool arrives = norm > 0 && std::isfinite(norm);
      if (known++ == 0) first = arrives;
      arrived += arrives ? 1 : 0;
    }
    if (known == 0) return outputs > 0 ? Arrival::kForgotten : Arrival::kNone;
    const bool nearly_all = static_cast<double>(arrived) >= share_ * static_cast<double>(known);
    return first && nearly_all ? Arrival::kEverywhere : Arrival::kNone;
  }

  void observe_updates(const StepRecord& record) {
    const std::vector<double>& ratios = record.values(Quantity::kUpdateRatio);
    const bool moves = std::any_of(ratios.begin(), ratios.end(), [](double ratio) { return ratio > 0; });
    const bool known =
        moves || std::any_of(ratios.begin(), ratios.end(), [](double ratio) { return !std::isnan(ratio); });
    if (known) moves_.add(moves, record.step);
  }

  enum class Fault { kNone, kGone, kCleared, kChanged };
  Fault fault() const {
    const bool always = static_cast<double>(gone_.seen) >= steps_ && gone_.share() >= share_;
    if (always) return Fault::kGone;
    if (cleared_) return Fault::kCleared;
    return changed_ ? Fault::kChanged : Fault::kNone;
  }

  bool stands() const { return moves_.judged > 0 && moves_.share() <= 1 - share_; }

  std::optional<Severity> severity() const {
    switch (fault()) {
      case Fault::kNone: return std::nullopt;
      case Fault::kGone:
        // The weights move all the same: it is step() that comes too late, not the update.
        return moves_.share() >= share_ && !harm_.stands_still() ? Severity::kWarning : Severity::kError;
      case Fault::kCleared:
        if (static_cast<double>(moves_.judged) >= min_steps_ && stands()) return Severity::kError;
        if (harm_.stands_still()) return Severity::kError;
        // Loss scalers skip an update now and then and clear what it would have used.
        return moves_.share() >= share_ ? Severity::kInfo : Severity::kWarning;
      default: return harm_.rose() ? Severity::kError : Severity::kWarning;
    }
  }

  Finding finding() const {
    const Fault now = fault();
    const std::int64_t since = now == Fault::kGone ? gone_.first : now == Fault::kCleared ? *cleared_ : *changed_;
    Finding finding = new_finding(kId, *severity(), 0.9, {}, {since, last_step_}, {});
    switch (now) {
      case Fault::kGone:
        finding.message = fmt::format(
            "In {} of {} recorded steps no parameter had a gradient when the step was recorded, although {}: the "
            "gradients are cleared between backward() and the update.",
            gone_.seen, gone_.judged,
            forgotten_ ? "backward() has made them (they are there, and all 0) and no layer passes on a gradient of 0"
                       : "backward() gave one to the outputs of the layers");
        finding.evidence.push_back(evidence("share of the recorded steps without any gradient of a parameter",
                                            gone_.share(), "≥", share_, Quantity::kGradientNorm));
        break;
      case Fault::kCleared:
        finding.message = fmt::format(
            "At step {} the gradients were set to zero after backward() and before the update that they were for.",
            since);
        finding.evidence.push_back(
            evidence("step at which gradients were cleared before the update", static_cast<double>(since), "≥", 0));
        break;
      default:
        finding.message = fmt::format(
            "At step {} the gradients were scaled after the update that they were for: clipping has no effect.", since);
        finding.evidence.push_back(
            evidence("step at which gradients were changed after the update", static_cast<double>(since), "≥", 0));
    }
    if (stands())
      finding.evidence.push_back(evidence("share of the recorded steps that changed any weight", moves_.share(), "≤",
                                          1 - share_, Quantity::kUpdateRatio));
    if (harm_.stands_still() || harm_.rose()) {
      finding.message += fmt::format(" It does harm: {}.", harm_.words());
      finding.evidence.push_back(loss_evidence(harm_));
    } else if (*severity() == Severity::kInfo) {
      finding.message += " Nearly all other updates took place.";
    }
    finding.recommendations.push_back(order_loop());
    return finding;
  }

  Recommendation order_loop() const {
    const bool clips = changed_.has_value();
    Recommendation advice;
    advice.id = "order-loop";
    advice.text = clips ? "Clip between backward() and optimizer.step()."
                        : "Clear the gradients before backward(), and leave them alone until optimizer.step() has used "
                          "them.";
    advice.why = "An update uses the gradients as it finds them.";
    advice.code = fmt::format(
        "optimizer.zero_grad();\n"
        "loss.backward();\n"
        "{}"
        "optimizer.step();",
        clips ? fmt::format("torch::nn::utils::clip_grad_norm_(net->parameters(), {});\n", literal(clip_.value_or(1)))
              : "");
    advice.confidence = 0.9;
    return advice;
  }

  double steps_;
  double share_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Layers layers_;
  Tally gone_;
  Tally moves_;
  std::vector<std::uint8_t> frozen_;
  bool forgotten_ = false;  ///< With the gradients of activations.
  std::optional<std::int64_t> cleared_;
  std::optional<std::int64_t> changed_;
  std::optional<double> clip_;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule loop_order() {
  RuleInfo info;
  info.id = kId;
  info.title = "Calls of the training loop are in the wrong order";
  info.meaning =
      "zero_grad() between backward() and step() throws away what was just computed, and nothing is trained. Clipping "
      "after step() comes too late to have an effect.";
  info.method =
      "The hooks see gradients that are set to zero before the update or scaled after it; and rules see steps in which "
      "nearly all layers' outputs, the first one's too, have a finite gradient other than 0, or none was kept although "
      "outputs were recorded, and no parameter has one. An error when weights do not move or the loss stands still "
      "or blows up; information where nearly all updates took place.";
  info.limits =
      "A loss scaler that skips an update is information at most. Models whose parameters are all frozen, as when an "
      "input is optimised, are not judged.";
  info.options = {
      {"steps", 10, "Recorded steps without any gradient of a parameter.", "Skipped steps come one at a time."},
      {"share", 0.9, "Share of the recorded steps that counts as nearly all.", "Exceptions are skipped steps."},
      min_steps_option(10),
  };
  info.references = {"Jiang et al., TrainCheck, OSDI 2025",
                     "PyTorch documentation, torch.optim: taking an optimization step"};
  info.effects = {{"diverging-loss"}, {"exploding-gradient"}, {"no-better-than-constant"}, {"no-gradient"},
                  {"plateaued-loss"}, {"zero-gradient"},      {"step-without-effect"},     {"vanishing-gradient"}};
  return make_rule<LoopOrder>(std::move(info));
}

}  // namespace gradhealth::rules
