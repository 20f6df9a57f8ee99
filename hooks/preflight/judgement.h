#pragma once

#include <cstdint>

#include <gradhealth/diagnosis.h>

#include "hooks/preflight/one_pass.h"

namespace gradhealth::hooks {

/// How often the rules are shown the pass: as many steps as their judgements of a start ask for.
constexpr std::int64_t kShownSteps = 20;

/// What the rules say of one pass. @param diagnoser a fresh one, of preflight_diagnoser().
Diagnosis judge(OnePass pass, Diagnoser diagnoser);

}  // namespace gradhealth::hooks
