#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace gradhealth::zoo {

/// Runs each job in a process of its own, a few at a time, so that trainings share nothing and one that dies takes no
/// other with it.
/// @param job gives the text to bring back; called in the child.
/// @param done called in this process as each ends, with its number and its text; empty if it died or took too long.
/// @pre nothing in this process has started a thread yet.
void run_in_processes(std::size_t jobs, std::size_t at_once, int seconds_each,
                      const std::function<std::string(std::size_t)>& job,
                      const std::function<void(std::size_t, const std::string&)>& done);

}  // namespace gradhealth::zoo
