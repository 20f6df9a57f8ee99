#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace gradhealth {

/// Runs `work` in a child process with limits, since HDF5 may crash on a damaged file, or never come to an end:
/// 4 GiB of address space, and processor time as now_reading() says. A child that dies is told of on stderr in one line
/// that names the file. What ends this process by a signal from outside ends both, in the same way. With
/// GRADHEALTH_LIMITS=off in the environment `work` runs here, without limits.
/// @returns what `work` returns, kExitCannotJudge if it died, kExitDefect if there can be no child.
int run_confined(const std::function<int()>& work);

/// From here on `file` is to blame for a crash, and ten seconds of processor time may be used, and another one for each
/// 4 MiB of it: some hundred times what is needed.
void now_reading(const std::filesystem::path& file);

/// Whether std::cerr writes to a terminal. In the child it does so beside the file descriptor 2, where what libraries
/// write is lost.
bool messages_on_terminal();

/// What to say where the limit of memory was met.
std::string out_of_memory();

}  // namespace gradhealth
