#pragma once

#include <cstdint>

#include <gradhealth/hooks.h>

#include "hooks/capture/step_capture.h"

namespace gradhealth::hooks {

/// What is looked at in some of the recorded steps only.
class CapturePlan {
 public:
  /// @param options must outlive this.
  explicit CapturePlan(const MonitorOptions& options) : options_(options) {}

  /// Of the step in progress, if it is recorded.
  bool probe_is_due() const { return options_.probe_every > 0 && captured_ % options_.probe_every == 0; }
  void note_probe() { probes_used_ = true; }
  /// Before the first operator of a recorded step.
  void prepare(StepCapture& capture, std::int64_t step) const {
    if (probe_is_due() && (step == options_.first_step || probes_used_)) capture.keep_ends();
    // Histograms are as large as all else that is recorded of the input: the first one, and one each time that the
    // recorded steps have doubled in number.
    if ((captured_ & (captured_ - 1)) == 0) capture.keep_input_values();
  }
  void step_captured() { ++captured_; }

 private:
  const MonitorOptions& options_;
  std::int64_t captured_ = 0;
  bool probes_used_ = false;  ///< The trainer has asked for one, or would have.
};

}  // namespace gradhealth::hooks
