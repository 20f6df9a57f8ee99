#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace gradhealth::run_file {

/// The text as valid UTF-8 without NUL in at most `width` bytes; what is cut ends in "…".
std::string stored_text(std::string_view text, std::size_t width);

/// The same for names that tell subjects apart: a name that had to be changed ends in "…#" and a hash
/// of the whole name, so that two subjects do not become one and equal names stay equal.
std::string stored_name(std::string_view name, std::size_t width);

}  // namespace gradhealth::run_file
