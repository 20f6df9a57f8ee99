#pragma once

#include <memory>

#include "hooks/origin/flight_recorder.h"

namespace gradhealth::hooks {

/// Shows the differentiable operators of all threads to a recorder while it lives. Operators inside another one are not
/// shown: what the trainer called is what is named.
class OperatorTrace {
 public:
  explicit OperatorTrace(std::shared_ptr<FlightRecorder> recorder);
  ~OperatorTrace();
  OperatorTrace(const OperatorTrace&) = delete;
  OperatorTrace& operator=(const OperatorTrace&) = delete;

 private:
  std::shared_ptr<FlightRecorder> recorder_;
};

/// The same for the operators of this thread only, which it hides from everybody else: captures and other recorders.
class ReplayTrace {
 public:
  explicit ReplayTrace(std::shared_ptr<FlightRecorder> recorder);
  ~ReplayTrace();
  ReplayTrace(const ReplayTrace&) = delete;
  ReplayTrace& operator=(const ReplayTrace&) = delete;
};

/// Whether this thread is computing a step a second time.
bool replaying();

}  // namespace gradhealth::hooks
