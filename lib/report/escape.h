#pragma once

#include <string>
#include <string_view>

namespace gradhealth {

/// Like printable(), but keeps line feeds; tabs become spaces. For messages and code.
std::string printable_text(std::string_view text);

/// For HTML text and for attribute values in double quotes. Keeps line feeds.
std::string html(std::string_view text);

}  // namespace gradhealth
