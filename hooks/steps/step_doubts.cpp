#include "hooks/steps/step_doubts.h"

namespace gradhealth::hooks {
namespace {

constexpr int kMostTimes = 20;

}  // namespace

std::string text(Doubt doubt) {
  switch (doubt) {
    case Doubt::kUpdateSkipped:
      return "the gradients were discarded and no update had used them: counted as a step, as of a loss scaler that "
             "skips an update";
    case Doubt::kLikelyPassedThrough:
      return "the gradients were discarded after something else was updated: taken for left over from another model's "
             "backward pass and not counted as a step; call step() instead if an update was skipped here";
    case Doubt::kLossUnknown:
      return "backward() was given a gradient, or ran where it could not be seen: the step's loss is not known";
    case Doubt::kUpdatesTakeTurns:
      return "two updates in a row had no parameter in common: each is counted as a step; call step() instead if they "
             "are one";
    case Doubt::kEndedWithoutUpdate:
      return "the run ended after a backward pass that no update had followed: not counted as a step";
    case Doubt::kStepCalled: return "step() was called, but MonitorOptions::step is kAutomatic: such calls are ignored";
  }
  return {};
}

bool StepDoubts::is_to_be_told(Doubt doubt) {
  const int most = doubt == Doubt::kStepCalled ? 1 : kMostTimes;
  int& times = times_[static_cast<std::size_t>(doubt)];
  if (times >= most) return false;
  ++times;
  return true;
}

}  // namespace gradhealth::hooks
