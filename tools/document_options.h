#pragma once

#include <string>
#include <vector>

#include <gradhealth/report.h>

namespace CLI {
class App;
}

namespace gradhealth {

/// Where a command that writes one document writes it, and how.
struct DocumentOptions {
  std::string output = "-";
  std::string format;
  std::string colour = "auto";
  bool ascii = false;
};

/// @param formats of "terminal", "html", "json" and "markdown". `options` must outlive the parsing.
void add_document_options(CLI::App& command, const std::vector<std::string>& formats, DocumentOptions& options);

/// The format asked for, or the one that the output's suffix tells, or "terminal" where there is none.
/// @throws UsageError for a suffix of none of `formats`.
std::string format_of(const DocumentOptions& options, const std::vector<std::string>& formats);

/// How to write to a terminal, or to a file that is not one.
TerminalOptions terminal_options(const DocumentOptions& options);

}  // namespace gradhealth
