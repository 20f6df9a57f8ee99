#include "rules/support/loss_harm.h"

#include <cmath>

#include <fmt/format.h>

#include "rules/support/nonfinite_origin.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr std::size_t kLosses = 20;  ///< Fewer do not tell progress from noise.
constexpr std::int64_t kSteps = 50;  ///< Biases take that long to settle.
// A loss that was far above its start falls for long, and what it falls to is judged only then.
constexpr std::int64_t kManySteps = 200;
constexpr double kFalling = 0.02;  ///< Share of what a constant answer costs.

}  // namespace

void LossHarm::observe(const Run& run, const StepRecord& record) {
  loss_.observe(record);
  constant_.observe(record);
  unguarded_ = unguarded_ || made_by_unguarded_operator(record);
  minimized_ = run.info.loss_kind != "adversarial" && run.info.loss_kind != "reinforcement";
  from_start_ = run.info.first_step == 0;
  const double rate = record.at(Quantity::kLearningRate);
  const bool rises = first_step_ && std::isfinite(rate) && rate > rate_;
  if (std::isfinite(rate)) rate_ = rate;
  if (!first_step_ || rises) still_since_ = record.step;
  if (!first_step_) first_step_ = record.step;
  last_step_ = record.step;
}

bool LossHarm::rose() const {
  if (loss_.nonfinite_step() && !unguarded_) return true;
  return minimized_ && loss_.risen_step() && !loss_.recovered();
}

bool LossHarm::stands_still() const {
  return minimized_ && from_start_ && loss_.count() >= kLosses && last_step_ - still_since_ >= kSteps &&
         (loss_.makes_no_progress() || worse_than_constant());
}

bool LossHarm::worse_than_constant() const {
  const double constant = constant_.value();
  if (std::isnan(constant) || loss_.count() < kLosses || last_step_ - still_since_ < kManySteps) return false;
  const double level = loss_.level(0.75, 1);
  // Above its first value as well: the trainer may have scaled the loss.
  return level > constant && level > loss_.first() && loss_.level(0.5, 0.75) - level < kFalling * constant;
}

std::string LossHarm::words() const {
  if (const auto step = loss_.nonfinite_step()) return fmt::format("the loss is not finite since step {}", *step);
  if (!rose() && stands_still() && worse_than_constant())
    return fmt::format("the loss stands still at {}, above what the same answer to every sample would cost, {}",
                       number(loss_.recent()), number(constant_.value()));
  const std::string verb = rose() ? "has risen to" : stands_still() ? "stands still at" : "is";
  const double level = rose() ? loss_.peak() : loss_.recent();
  return fmt::format("the loss {} {} (start {})", verb, number(level), number(loss_.start()));
}

}  // namespace gradhealth::rules
