#include "screen.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

namespace gradhealth {

namespace {

// ECMA-48 control sequences.
std::string sequence(std::size_t count, char final) { return "\x1b[" + std::to_string(count) + final; }
constexpr const char* kHideCursor = "\x1b[?25l";
constexpr const char* kShowCursor = "\x1b[?25h";
constexpr const char* kPlain = "\x1b[0m";
constexpr const char* kEraseRestOfLine = "\x1b[K";
constexpr const char* kEraseBelow = "\x1b[J";
constexpr const char* kEraseAll = "\x1b[H\x1b[2J";

}  // namespace

ScreenSize screen_size() {
  winsize size{};
  ScreenSize result;
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) return result;
  if (size.ws_col > 0) result.width = size.ws_col;
  if (size.ws_row > 0) result.height = size.ws_row;
  return result;
}

std::string Screen::redraw(const std::vector<std::string>& lines, const ScreenSize& size) {
  std::string out;
  // A terminal of another size may have broken the lines anew: nobody knows where they stand.
  if (!shown_.empty() && (size.width != size_.width || size.height != size_.height)) {
    out += kEraseAll;
    shown_.clear();
  }
  size_ = size;
  if (lines == shown_ && out.empty()) return {};
  std::size_t at = shown_.size();  // The line that the cursor is on, always in the first column.
  const auto go_to = [&](std::size_t line) {
    if (line < at) out += sequence(at - line, 'A');
    if (line > at) out += sequence(line - at, 'B');
    at = line;
  };
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i < shown_.size() && lines[i] == shown_[i]) continue;
    go_to(i);
    out += lines[i];
    if (i < shown_.size()) out += kEraseRestOfLine;
    out += "\r\n";
    ++at;
  }
  go_to(lines.size());
  if (lines.size() < shown_.size()) out += kEraseBelow;
  shown_ = lines;
  return kHideCursor + out + kShowCursor;
}

std::string Screen::restored() const {
  const bool coloured = std::any_of(shown_.begin(), shown_.end(),
                                    [](const std::string& line) { return line.find('\x1b') != std::string::npos; });
  return (coloured ? kPlain : "") + std::string(kShowCursor);
}

}  // namespace gradhealth
