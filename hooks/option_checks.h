#pragma once

#include <gradhealth/hooks.h>

#include "hooks/steps/schedule.h"

namespace gradhealth::hooks {

/// @throws UsageError for one that is out of range.
void check(const MonitorOptions& options);

/// What the options and the environment make of the schedule: where CI is set, it depends on the step alone.
ScheduleOptions schedule_options(const MonitorOptions& options);

/// Whether the environment has GRADHEALTH=off.
bool switched_off();

}  // namespace gradhealth::hooks
