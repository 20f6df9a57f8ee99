#pragma once

#include <string>

#include <gradhealth/report.h>

namespace gradhealth {

/// Judges a run, a file or a directory of files, in one pass over each file.
/// @param config path of a configuration, or empty for the defaults.
/// @throws UsageError, IoError, FormatError.
Report load_report(const std::string& run, const std::string& config);

}  // namespace gradhealth
