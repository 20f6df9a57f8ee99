#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <gradhealth/hooks.h>

#include "hooks/capture/parameter_recorder.h"
#include "hooks/capture/watched_parameters.h"
#include "hooks/origin/flight_recorder.h"
#include "hooks/origin/operator_trace.h"
#include "hooks/origin/replay.h"

namespace gradhealth::hooks {

/// Decides which steps are traced or replayed, and tells where the non-finite values of a step began: once when such
/// steps begin, and at most three times a run.
class OriginFinder {
 public:
  OriginFinder(const WatchedParameters& parameters, const NamedTensors& buffers, const MonitorOptions& options);

  enum class StepKind : std::uint8_t { kRecorded, kBetween };
  /// Traces the step that begins, if it is one to be traced.
  void begin_step(std::int64_t step, StepKind kind);
  /// Ends that. Until the next `begin_step`, what was traced can be asked for.
  void stop();
  /// Something looks wrong: the next steps are traced.
  void suspect(std::int64_t step);
  /// Whether the traced step brought a non-finite gradient to a parameter.
  bool gradient_is_bad() const;
  /// Adds the events that tell the origin to a step's row, which holds its loss. May replay the step.
  void report(StepRecord& row, const ParameterReadings& parameters, const at::Tensor& loss);

  void set_replay(std::function<at::Tensor()> closure);
  /// Time spent tracing the last step.
  double traced_seconds() const { return recorder_ ? recorder_->own_seconds() : 0; }

 private:
  bool done() const;
  std::optional<Origin> replay(StepRecord& row);
  void give_up(StepRecord& row, const std::string& error);

  OriginSearch search_;
  std::shared_ptr<const ModelState> model_;
  Replay replay_;
  std::shared_ptr<FlightRecorder> recorder_;
  std::optional<OperatorTrace> trace_;
  std::int64_t armed_until_;
  std::int64_t next_suspicion_ = 0;
  std::int64_t bad_since_ = -1;  ///< First of the present non-finite steps; -1 if the last one was finite.
  bool told_ = false;            ///< The origin of these.
  int reports_ = 0;
  int replays_ = 0;
  bool broken_ = false;
};

}  // namespace gradhealth::hooks
