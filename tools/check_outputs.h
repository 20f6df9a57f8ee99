#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include <gradhealth/report.h>

namespace CLI {
class App;
}

namespace gradhealth {

/// What `check` writes beside its text.
struct CheckOutputs {
  std::vector<std::string> files;  ///< One per format, in the order of the table; "-" is standard output.
  bool github = false;             ///< Annotations, on standard output.
};

/// One option per format.
void add_output_options(CLI::App& command, CheckOutputs& outputs);

/// Whether a format is written to standard output, in place of the text.
/// @throws UsageError if two want it, or two want one file.
bool takes_stdout(const CheckOutputs& outputs);

void write_outputs(const CheckOutputs& outputs, const std::vector<Report>& reports, const CiOptions& options);

/// Takes FILE or FILE:LINE into `options`.
/// @throws UsageError if the file is not below the working directory, or the line is no line.
void set_source(const std::string& source, CiOptions& options);

}  // namespace gradhealth
