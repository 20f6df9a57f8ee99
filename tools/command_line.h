#pragma once

namespace gradhealth {

/// The whole command: parses the arguments, does the work, says on stderr what went wrong. Throws nothing.
/// @returns the exit code.
int run_command_line(int argc, char** argv);

}  // namespace gradhealth
