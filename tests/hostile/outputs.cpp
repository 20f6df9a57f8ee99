#include "hostile/outputs.h"

#include <array>
#include <cstdlib>
#include <optional>
#include <sstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>

namespace gradhealth::hostile {
namespace {

/// The length of the valid UTF-8 character that `text` begins with; a second implementation, so that escape.cpp's is
/// not judged by itself.
std::optional<std::size_t> character(std::string_view text, char32_t& value) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(0) < 0x80   ? 1
                             : byte(0) < 0xC2 ? 0
                             : byte(0) < 0xE0 ? 2
                             : byte(0) < 0xF0 ? 3
                             : byte(0) < 0xF5 ? 4
                                              : 0;
  if (length == 0 || length > text.size()) return std::nullopt;
  value = length == 1 ? byte(0) : byte(0) & (0x7Fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return std::nullopt;
    value = value << 6 | (byte(i) & 0x3Fu);
  }
  const bool overlong = (length == 3 && value < 0x800) || (length == 4 && value < 0x10000);
  if (overlong || (value >= 0xD800 && value < 0xE000) || value > 0x10FFFF) return std::nullopt;
  return length;
}

std::string wrong_characters(std::string_view text, std::string_view allowed, bool bidirectional_allowed) {
  for (std::size_t at = 0; at < text.size();) {
    char32_t c = 0;
    const std::optional<std::size_t> length = character(text.substr(at), c);
    if (!length) return fmt::format("invalid UTF-8 at byte {}", at);
    const bool control = c < 0x20 || (c >= 0x7F && c < 0xA0);
    if (control && allowed.find(static_cast<char>(c)) == std::string_view::npos)
      return fmt::format("control character {:#x} at byte {}", static_cast<unsigned>(c), at);
    const bool deceptive = (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0x200E || c == 0x200F;
    if (deceptive && !bidirectional_allowed) return fmt::format("bidirectional override at byte {}", at);
    at += *length;
  }
  return {};
}

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

bool is_number(const std::string& cell) {
  char* end = nullptr;
  std::strtod(cell.c_str(), &end);
  return end == cell.c_str() + cell.size();
}

std::string wrong_cell(const std::string& cell, bool quoted) {
  constexpr std::string_view kFormula = "=+-@\t";
  if (cell.empty() || kFormula.find(cell[0]) == std::string_view::npos) return {};
  if (!quoted && is_number(cell)) return {};
  return "a cell is a formula: " + cell;
}

}  // namespace

std::string wrong_text(std::string_view text) { return wrong_characters(text, "\n", false); }

std::string wrong_complaint(std::string_view text) {
  constexpr std::string_view kBegin = "gradhealth: ";
  if (text.substr(0, kBegin.size()) != kBegin) return "stderr does not begin with \"gradhealth: \"";
  if (text.find('\n') + 1 != text.size()) return "not one line on stderr";
  return wrong_text(text);
}

std::string wrong_json(std::string_view text) {
  if (!nlohmann::json::accept(text)) return "no JSON";
  return wrong_characters(text, "\n", true);
}

std::string wrong_xml(const std::string& text) {
  pugi::xml_document document;
  const pugi::xml_parse_result result = document.load_string(text.c_str());
  if (!result) return std::string("no XML: ") + result.description();
  return wrong_text(text);
}

std::string wrong_html(std::string_view text) {
  constexpr std::array<std::string_view, 5> kForeign{"<script>alert", "<img", "=\"javascript:", "='javascript:",
                                                     "<iframe"};
  for (const std::string_view foreign : kForeign)
    if (text.find(foreign) != std::string_view::npos) return "the page holds " + std::string(foreign);
  if (count(text, "<script") != count(text, "</script")) return "scripts do not end where they should";
  return wrong_characters(text, "\n\t", false);
}

std::string wrong_csv(std::string_view text) {
  if (std::string wrong = wrong_characters(text, "\r\n", false); !wrong.empty()) return wrong;
  std::optional<std::size_t> columns;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t cells = 0;
    for (bool more = true; more; ++cells) {
      std::string cell;
      const bool quoted = at < text.size() && text[at] == '"';
      if (quoted) {
        for (++at; at < text.size() && !(text[at] == '"' && text.substr(at, 2) != "\"\""); ++at) {
          cell += text[at];
          if (text[at] == '"') ++at;
        }
        ++at;
      } else {
        while (at < text.size() && text[at] != ',' && text[at] != '\r') cell += text[at++];
      }
      if (std::string wrong = wrong_cell(cell, quoted); !wrong.empty()) return wrong;
      more = at < text.size() && text[at] == ',';
      at += more;
    }
    if (text.substr(at, 2) != "\r\n") return fmt::format("no end of a line at byte {}", at);
    at += 2;
    if (columns.value_or(cells) != cells) return fmt::format("a line of {} cells among those of {}", cells, *columns);
    columns = cells;
  }
  return {};
}

std::string wrong_annotations(std::string_view text) {
  std::string open;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    if (!open.empty()) {
      if (line == "::" + open + "::") open.clear();
      continue;
    }
    constexpr std::string_view kStop = "::stop-commands::";
    if (line.compare(0, kStop.size(), kStop) == 0) {
      open = line.substr(kStop.size());
      continue;
    }
    if (line.compare(0, 2, "::") != 0) continue;
    bool known = false;
    for (const char* command : {"::error ", "::warning ", "::notice "}) known = known || line.rfind(command, 0) == 0;
    if (!known) return "a workflow command: " + line;
  }
  return open.empty() ? wrong_text(text) : "workflow commands stay stopped";
}

}  // namespace gradhealth::hostile
