#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "zoo/cases.h"

namespace gradhealth::zoo {

/// Looks at each fault and at its healthy twin before they are trained, and prints what was found.
/// @returns whether every twin was healthy.
bool print_preflights(const std::vector<const Fault*>& faults, const std::vector<std::uint64_t>& seeds);

}  // namespace gradhealth::zoo
