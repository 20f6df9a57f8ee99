#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace gradhealth {

/// Characters, taking every code point for one column.
std::size_t display_width(std::string_view text);

/// Breaks at spaces so that lines, `indent` included, stay within `width`. A word that is longer (a
/// module path, say) stays whole, so that it can be copied. Line feeds in the text are kept. Ends with a
/// line feed.
/// @param first replaces the indentation of the first line.
std::string wrap(std::string_view text, std::size_t width, std::string_view indent, std::string_view first);

/// Every line of `text` after `indent`, otherwise unchanged. Ends with a line feed.
std::string indented(std::string_view text, std::string_view indent);

}  // namespace gradhealth
