#pragma once

#include <filesystem>
#include <vector>

#include "hostile/mutate.h"

namespace gradhealth::hostile {

/// Run files as trainers leave them: closed, alive, of an unhealthy training with events, the parts of a continued run.
std::vector<Base> written_bases(const std::filesystem::path& directory);

/// The run files that structured.py has made.
std::vector<Base> structured_bases(const std::filesystem::path& directory);

}  // namespace gradhealth::hostile
