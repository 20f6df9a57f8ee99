#pragma once

#include <iosfwd>
#include <string>

#include <gradhealth/report.h>

namespace gradhealth {

/// Judges a run, a file or a directory of files, in one pass over each file.
/// @param config path of a configuration, or empty for the defaults.
/// @param detail what is to be drawn.
/// @param progress told how far it is, if it takes long; may be nullptr.
/// @throws UsageError, IoError, FormatError.
Report load_report(const std::string& run, const std::string& config, PlotDetail detail,
                   std::ostream* progress = nullptr);

}  // namespace gradhealth
