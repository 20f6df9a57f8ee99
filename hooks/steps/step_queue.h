#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "hooks/capture/parameter_recorder.h"
#include "hooks/statistics/readback.h"
#include "hooks/steps/step_in_flight.h"

namespace gradhealth::hooks {

/// Steps on their way into the file, in order. The last one waits for its update, any of them for the numbers that a
/// device still owes. With everything on the CPU there is one step here, from its step() to the next.
class StepQueue {
 public:
  enum class Ending : std::uint8_t { kNextStep, kRunEnds };
  enum class Waiting : std::uint8_t { kNone, kUntilReady };

  /// A device that lags further behind has steps left out rather than waited for.
  bool full() const { return steps_.size() >= kMostSteps; }
  /// A step that is not in the queue yet. @param readback brings its numbers; null: one of its own.
  StepInFlight fresh(std::shared_ptr<Readback> readback);
  /// One that is not needed after all; its memory is used again.
  void discard(StepInFlight&& step);
  StepInFlight& push(StepInFlight&& step);
  /// Whether the last step's update has not been read yet.
  bool last_is_open() const { return !steps_.empty() && !steps_.back().update_readback; }
  StepInFlight& last() { return steps_.back(); }
  /// Reads what the update has done to the weights of the last step.
  void read_update(Ending ending, ParameterRecorder& parameters);
  /// Hands on the steps whose numbers have arrived: to `values` once all but the update's effect is there, then to
  /// `finished`, out of the queue already, so that it may be emptied from there.
  void deliver(Waiting waiting, const std::function<void(StepInFlight&)>& values,
               const std::function<void(StepInFlight&)>& finished);
  void clear() { steps_.clear(); }

 private:
  static constexpr std::size_t kMostSteps = 16;

  std::deque<StepInFlight> steps_;
  StepInFlight spare_;
};

}  // namespace gradhealth::hooks
