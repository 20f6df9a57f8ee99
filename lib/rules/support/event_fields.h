#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

/// The texts of events: "key=value" pairs separated by blanks (run_file/FORMAT.md).
namespace gradhealth::rules {

using Fields = std::map<std::string, std::string, std::less<>>;

/// The first value of every key; what is no pair is left out.
Fields fields_of(const std::string& text);
/// Empty if there is no such key.
std::string field(const Fields& fields, std::string_view key);

std::vector<std::string> split(std::string_view text, char separator);

}  // namespace gradhealth::rules
