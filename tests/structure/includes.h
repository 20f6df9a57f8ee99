#pragma once

#include <string>
#include <string_view>
#include <vector>

/// Which part of the project may include what.
namespace gradhealth::test {

/// The part that a source file belongs to: "lib/rules", "hooks", "tools", "include/gradhealth/rules.h", …
std::string part_of(std::string_view path);

/// What of `source` its part may not include; a line for each.
/// @param path relative to the project, with forward slashes.
std::vector<std::string> forbidden_includes(std::string_view path, std::string_view source);

}  // namespace gradhealth::test
