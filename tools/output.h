#pragma once

#include <functional>
#include <iosfwd>
#include <string>

#include <gradhealth/report.h>

namespace gradhealth {

using WriteFunction = std::function<void(std::ostream&)>;

/// Writes to standard output. A reader that went away, as `head` does, is no error.
/// @throws IoError for any other failure, such as a full disk.
void write_stdout(const WriteFunction& write);

/// Writes to a file, or to standard output for "-". The file appears under its name only when it is
/// complete; a device or a pipe is written to directly.
/// @throws IoError if it cannot be written; UsageError if it is a directory or a run file.
void write_output(const std::string& path, const WriteFunction& write);

/// How to write to a terminal.
/// @param colour "auto", "always" or "never".
TerminalOptions terminal_options(const std::string& colour);

/// Standard error if that is a terminal, else nullptr: where progress is told.
std::ostream* progress_stream();

}  // namespace gradhealth
