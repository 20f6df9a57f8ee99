#include "report/wrap.h"

#include <algorithm>

namespace gradhealth {
namespace {

/// Takes what is before the next separator off `text`.
std::string_view take(std::string_view& text, char separator) {
  const std::size_t end = std::min(text.find(separator), text.size());
  const std::string_view head = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return head;
}

}  // namespace

std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string wrap(std::string_view text, std::size_t width, std::string_view indent, std::string_view first) {
  std::string out;
  std::string_view prefix = first;
  do {
    std::string_view paragraph = take(text, '\n');
    out += prefix;
    std::size_t column = display_width(prefix);
    bool line_is_empty = true;
    while (!paragraph.empty()) {
      const std::string_view word = take(paragraph, ' ');
      if (word.empty()) continue;
      if (!line_is_empty && column + 1 + display_width(word) > width) {
        out += '\n';
        out += indent;
        column = display_width(indent);
        line_is_empty = true;
      }
      if (!line_is_empty) out += ' ';
      out += word;
      column += display_width(word) + (line_is_empty ? 0 : 1);
      line_is_empty = false;
    }
    out += '\n';
    prefix = indent;
  } while (!text.empty());
  return out;
}

std::string indented(std::string_view text, std::string_view indent) {
  std::string out;
  while (!text.empty()) {
    const std::string_view line = take(text, '\n');
    if (!line.empty()) out += indent;
    out += line;
    out += '\n';
  }
  return out;
}

}  // namespace gradhealth
