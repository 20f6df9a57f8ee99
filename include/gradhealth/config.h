#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <gradhealth/diagnosis.h>

/// Configuration in TOML: a table `[rules.<id>]` per rule, and `[[suppressions]]`. The same file serves Monitor and
/// check.
namespace gradhealth {

/// @param text in TOML.
/// @param origin named in messages, usually the file's path.
/// @throws UsageError with origin, line and column for bad syntax, an unknown rule, an unknown key or a
/// value of the wrong type.
/// @param known the rules that may be named; those of one's own have to be among them.
/// @returns options whose `today` is the present day, UTC.
DiagnosisOptions parse_config(std::string_view text, const std::string& origin,
                              const std::vector<Rule>& known = catalogue());

/// @throws IoError if the file cannot be read; UsageError as above.
DiagnosisOptions load_config(const std::filesystem::path& path, const std::vector<Rule>& known = catalogue());

/// Every rule with every option at its default, as commented TOML. Parses back to the defaults.
std::string default_config();

}  // namespace gradhealth
