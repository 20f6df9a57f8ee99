#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gradhealth {

struct CodePoint {
  std::uint32_t value;
  std::size_t bytes;
};

/// The code point at the beginning of `text`; nothing for bytes that are not UTF-8.
/// @pre `text` is not empty.
std::optional<CodePoint> decode(std::string_view text);

/// Like printable(), but keeps line feeds; tabs become spaces. For messages and code.
std::string printable_text(std::string_view text);

/// For HTML text and for attribute values in double quotes. Keeps line feeds.
std::string html(std::string_view text);

/// For running text of GitHub-flavoured Markdown, on one line: no markup, mention, reference or link begins in it.
std::string markdown(std::string_view text);

/// As a code span of Markdown, on one line.
std::string markdown_code(std::string_view text);

/// Symbols that the rules use are spelt ("≥" is ">="), other characters beyond ASCII become "\u{3b1}".
/// @pre valid UTF-8, as printable() makes it.
std::string ascii(std::string_view text);

/// The text, or as much of it as fits into `bytes`, ending with "…"; cut between characters.
std::string shortened(std::string_view text, std::size_t bytes);

}  // namespace gradhealth
