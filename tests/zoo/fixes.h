#pragma once

#include <gradhealth/rules.h>

#include "zoo/settings.h"

namespace gradhealth::zoo {

/// Does in the settings what the recommendation's code does in a trainer.
/// @returns false if it says nothing that these settings can express.
bool apply(const Recommendation& advice, Settings& settings);

}  // namespace gradhealth::zoo
