#pragma once

#include <gradhealth/rules.h>

#include "rules/support/loss_harm.h"

namespace gradhealth::rules {

/// What LossHarm::words() say, as evidence. @pre the loss rose or stands still.
Evidence loss_evidence(const LossHarm& harm);

/// A loss that nobody declared to rise by design.
bool is_minimized(const RunInfo& info);

}  // namespace gradhealth::rules
