#pragma once

#include <gradhealth/rules.h>

namespace gradhealth::hooks {

/// "initial-jacobian-growth": what jacobian-growth measures, without a consequence, which only training could show.
Rule initial_growth();

}  // namespace gradhealth::hooks
