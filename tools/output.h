#pragma once

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

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

/// The format asked for, or the one that the output's suffix tells, or "terminal" where there is none.
/// @param known of "terminal", "html", "json" and "markdown".
/// @throws UsageError for a suffix of none of these.
std::string format_of(const std::string& asked, const std::string& output, const std::vector<std::string>& known);

/// How to write to a terminal.
/// @param colour "auto", "always" or "never".
TerminalOptions terminal_options(const std::string& colour);

/// Standard error if that is a terminal, else nullptr: where progress is told.
std::ostream* progress_stream();

}  // namespace gradhealth
