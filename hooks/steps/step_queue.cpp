#include "hooks/steps/step_queue.h"

#include <utility>

namespace gradhealth::hooks {
namespace {

bool arrived(Readback& readback, StepQueue::Waiting waiting) {
  if (waiting == StepQueue::Waiting::kNone) return readback.ready();
  readback.wait();
  return true;
}

}  // namespace

StepInFlight StepQueue::fresh(std::shared_ptr<Readback> readback) {
  StepInFlight step = std::move(spare_);
  step.clear();
  step.readback = readback ? std::move(readback) : std::make_shared<Readback>();
  return step;
}

void StepQueue::discard(StepInFlight&& step) {
  step.clear();
  spare_ = std::move(step);
}

StepInFlight& StepQueue::push(StepInFlight&& step) { return steps_.emplace_back(std::move(step)); }

void StepQueue::read_update(Ending ending, ParameterRecorder& parameters) {
  if (!last_is_open()) return;
  StepInFlight& step = steps_.back();
  step.update_readback = std::make_shared<Readback>();
  step.run_ended_before_update = ending == Ending::kRunEnds;
  if (step.has_parameters) parameters.read_update(step.parameters, *step.update_readback);
  step.update_readback->start();
}

void StepQueue::deliver(Waiting waiting, const std::function<void(StepInFlight&)>& values,
                        const std::function<void(StepInFlight&)>& finished) {
  while (!steps_.empty()) {
    StepInFlight& first = steps_.front();
    if (!first.values_recorded) {
      if (!arrived(*first.readback, waiting)) return;
      first.values_recorded = true;
      values(first);
    }
    if (!first.update_readback || !arrived(*first.update_readback, waiting)) return;
    StepInFlight step = std::move(first);
    steps_.pop_front();
    finished(step);
    discard(std::move(step));
  }
}

}  // namespace gradhealth::hooks
