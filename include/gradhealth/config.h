#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <gradhealth/diagnosis.h>

/// Configuration in TOML: a table `[rules.<id>]` per rule.
namespace gradhealth {

/// @param origin named in messages, usually the file's path.
/// @throws UsageError with origin, line and column for bad syntax, an unknown rule, an unknown key or a
/// value of the wrong type.
DiagnosisOptions parse_config(std::string_view toml, const std::string& origin);

/// @throws IoError if the file cannot be read; UsageError as above.
DiagnosisOptions load_config(const std::filesystem::path& path);

/// Every rule with every option at its default, as commented TOML. Parses back to the defaults.
std::string default_config();

}  // namespace gradhealth
