#pragma once

#include <memory>

#include "hooks/capture/step_capture.h"

namespace gradhealth::hooks {

/// Shows the operators of all threads to a capture from now on. Operators under NoGradGuard are not shown, nor those
/// that run inside another one that concerns the capture's model.
void observe(const std::shared_ptr<StepCapture>& capture);
/// Stops that. Cheap when another capture is observed right after.
void stop_observing(const std::shared_ptr<StepCapture>& capture);

}  // namespace gradhealth::hooks
