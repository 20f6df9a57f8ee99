#pragma once

#include <filesystem>
#include <vector>

#include "hostile/mutate.h"

namespace gradhealth::hostile {

/// Run files as trainers leave them: closed, alive, of an unhealthy training with events, the parts of a continued run.
std::vector<Base> written_bases(const std::filesystem::path& directory);

/// The run files that structured.py has made, sorted.
std::vector<std::filesystem::path> structured_files(const std::filesystem::path& directory);
/// One of those. Not to be kept: each command is a fork of this process, whose memory it takes time to copy.
Base structured_base(const std::filesystem::path& file);

}  // namespace gradhealth::hostile
