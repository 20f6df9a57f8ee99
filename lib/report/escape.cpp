#include "report/escape.h"

#include <cstddef>
#include <optional>

#include <fmt/format.h>

#include <gradhealth/report.h>

namespace gradhealth {
namespace {

bool is_control(std::uint32_t c) { return c < 0x20 || (c >= 0x7F && c < 0xA0); }

/// Characters that are invisible or change the order of what surrounds them, and those that XML forbids.
bool is_deceptive(std::uint32_t c) {
  return (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0x061C ||
         c == 0xFEFF || c == 0xFFFE || c == 0xFFFF;
}

std::string escape(std::string_view text, std::string_view kept) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::optional<CodePoint> c = decode(text);
    const std::size_t bytes = c ? c->bytes : 1;
    if (c && kept.find(text[0]) != std::string_view::npos)
      out += text[0];
    else if (c && c->value == '\n')
      out += "\\n";
    else if (c && c->value == '\t')
      out += "    ";
    else if (!c || is_control(c->value))
      out += fmt::format("\\x{:02x}", c ? c->value : static_cast<unsigned char>(text[0]));
    else if (is_deceptive(c->value))
      out += fmt::format("\\u{:04x}", c->value);
    else
      out += text.substr(0, bytes);
    text.remove_prefix(bytes);
  }
  return out;
}

}  // namespace

std::optional<CodePoint> decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return CodePoint{lead, 1};
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return std::nullopt;
  std::uint32_t value = lead & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return std::nullopt;
    value = value << 6 | (byte(i) & 0x3F);
  }
  constexpr std::uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < smallest[length] || surrogate || value > 0x10FFFF) return std::nullopt;
  return CodePoint{value, length};
}

std::string printable(std::string_view text) { return escape(text, ""); }

std::string printable_text(std::string_view text) { return escape(text, "\n"); }

std::string html(std::string_view text) {
  std::string out;
  for (const char c : printable_text(text)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string markdown(std::string_view text) {
  constexpr std::string_view marks = "\\`*_[]|~$";
  // An empty comment is nothing to see or to copy, and ends what GitHub and GitLab would make a link of.
  constexpr std::string_view wall = "<!-- -->";
  std::string line = printable(text);
  line.erase(0, line.find_first_not_of(' '));
  // What would make a list, a heading or a rule of the line.
  std::size_t head = line.find_first_not_of("0123456789");
  const auto is_one_of = [&](std::string_view set) {
    return head != std::string::npos && set.find(line[head]) != std::string_view::npos;
  };
  const bool ends_word = head + 1 >= line.size() || line[head + 1] == ' ';
  if (!(head == 0 && is_one_of("-+#=")) && !(head != 0 && ends_word && is_one_of(".)"))) head = std::string::npos;
  std::string out;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    switch (c) {
      case '&': out += "&amp;"; continue;
      case '<': out += "&lt;"; continue;
      case '>': out += "&gt;"; continue;
      default: break;
    }
    if (c == '.' && i >= 3 && line.compare(i - 3, 3, "www") == 0) out += wall;
    if (marks.find(c) != std::string_view::npos || i == head) out += '\\';
    out += c;
    const bool before_space = i + 1 == line.size() || line[i + 1] == ' ';
    if (c == '@' || c == '#' || (c == ':' && !before_space)) out += wall;
    if (c == '-' && i >= 2 && line.compare(i - 2, 2, "GH") == 0) out += wall;
  }
  return out;
}

std::string markdown_code(std::string_view text) {
  const std::string line = printable(text);
  if (line.empty()) return {};
  std::size_t longest = 0, run = 0;
  for (const char c : line) {
    run = c == '`' ? run + 1 : 0;
    longest = longest > run ? longest : run;
  }
  const std::string fence(longest + 1, '`');
  const bool padded = line.front() == '`' || line.back() == '`' || line.front() == ' ';
  return fence + (padded ? " " : "") + line + (padded ? " " : "") + fence;
}

std::string shortened(std::string_view text, std::size_t bytes) {
  constexpr std::string_view mark = "…";
  if (text.size() <= bytes) return std::string(text);
  std::size_t end = bytes > mark.size() ? bytes - mark.size() : 0;
  while (end > 0 && (text[end] & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + std::string(mark);
}

}  // namespace gradhealth
