#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/event_fields.h"
#include "rules/support/new_finding.h"
#include "rules/support/nonfinite_origin.h"
#include "rules/support/optimizer_advice.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "stats/quantile.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "nonfinite-optimizer-state";

class NonfiniteOptimizerState final : public Judge {
 public:
  explicit NonfiniteOptimizerState(const RuleOptions& options) : min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    if (optimizer_ != run.info.optimizer) optimizer_ = run.info.optimizer;
    for (const Event& event : record.events) take_in(event, run);
    const double count = record.at(Quantity::kOptimizerStateNonfinite);
    if (std::isnan(count)) return;
    ++steps_;
    if (!(count > 0)) {
      if (!first_) last_healthy_ = record.step;
      if (!first_) norms_.push(global_gradient_norm(record));
      return;
    }
    if (!first_) {
      first_ = record.step;
      count_ = count;
      origin_ = origin_sentence(record);
    }
    last_ = record.step;
  }

  std::size_t alarms() const override { return first_ ? 1 : 0; }

  Outcome outcome() const override {
    if (!first_) {
      if (steps_ == 0) return NotEvaluated{"the optimizer's state was not recorded"};
      if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
      return Healthy{};
    }
    const std::string whose = subject_.name.empty() ? "a parameter" : subject_.name;
    Finding finding = new_finding(
        kId, Severity::kError, 0.95, subject_, {*first_, last_},
        fmt::format("{}'s {} of {} is NaN or infinite at step {}, {:.0f} of the sampled elements in all: every later "
                    "update of these elements is.{}",
                    optimizer_.empty() ? "The optimizer" : optimizer_, moment_.empty() ? "state" : moment_, whose,
                    *first_, count_, origin_));
    finding.evidence.push_back(
        evidence("non-finite elements of the optimizer's state", count_, ">", 0, Quantity::kOptimizerStateNonfinite));
    finding.recommendations.push_back(restart_from_checkpoint(last_healthy_));
    const bool known = norms_.count() >= 5;
    finding.recommendations.push_back(
        clip_gradients(known ? std::optional<double>(norms_.value()) : std::nullopt, 1.0));
    return unhealthy({std::move(finding)});
  }

 private:
  void take_in(const Event& event, const Run& run) {
    if (event.kind != kId || !subject_.name.empty()) return;
    moment_ = field(fields_of(event.text), "moment");
    subject_.name = event.subject;
    for (const Subject& parameter : run.of(Axis::kParameter))
      if (parameter.name == event.subject) subject_ = ref(parameter);
  }

  double min_steps_;
  std::size_t steps_ = 0;
  double count_ = 0;
  std::string optimizer_;
  std::string origin_;
  std::string moment_;
  SubjectRef subject_;
  stats::Quantile norms_{0.95};
  std::optional<std::int64_t> first_;
  std::int64_t last_ = 0;
  std::optional<std::int64_t> last_healthy_;
};

}  // namespace

Rule nonfinite_optimizer_state() {
  RuleInfo info;
  info.id = kId;
  info.title = "Optimizer state is not finite";
  info.meaning =
      "A moment of the optimizer holds NaN or infinity. It is an average that never forgets, so that every later "
      "update "
      "of these elements is not finite or 0, even if gradients are in order again. Checkpoints carry it along.";
  info.method = "Counts non-finite elements among those sampled of the optimizer's moments, before each update.";
  info.limits = "Moments are looked at in samples: a few bad elements of a large one may be missed until they spread.";
  info.options = {min_steps_option(10)};
  info.references = {"Kingma, Ba, Adam, ICLR 2015"};
  info.effects = {{"nonfinite-weight"},   {"step-without-effect"}, {"nonfinite-activation"},   {"nonfinite-loss"},
                  {"nonfinite-gradient"}, {"nonfinite-buffer"},    {"no-better-than-constant"}};
  return make_rule<NonfiniteOptimizerState>(std::move(info));
}

}  // namespace gradhealth::rules
