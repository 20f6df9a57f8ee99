#pragma once

#include <string>
#include <string_view>

#include <gradhealth/report.h>

namespace gradhealth {

/// Colours of a terminal: nothing but the text itself with Colour::kNever.
class Style {
 public:
  explicit Style(Colour colour) : colour_(colour) {}

  std::string bold(std::string_view text) const { return in("1", text); }
  std::string dim(std::string_view text) const { return in("2", text); }
  std::string code(std::string_view text) const { return in("36", text); }
  std::string of(Severity severity, std::string_view text) const {
    return in(severity == Severity::kError ? "1;31" : severity == Severity::kWarning ? "1;33" : "1;34", text);
  }
  std::string of(Verdict verdict, std::string_view text) const {
    return in(verdict == Verdict::kUnhealthy ? "1;31" : verdict == Verdict::kUndecided ? "1;33" : "1;32", text);
  }

 private:
  std::string in(std::string_view code, std::string_view text) const {
    if (colour_ == Colour::kNever || text.empty()) return std::string(text);
    // Line by line: a pager shows any window of the text in the right colour.
    std::string out = begin(code);
    for (const char c : text) out += c == '\n' ? std::string("\x1b[0m\n") + begin(code) : std::string(1, c);
    return out + "\x1b[0m";
  }
  static std::string begin(std::string_view code) { return "\x1b[" + std::string(code) + "m"; }

  Colour colour_;
};

}  // namespace gradhealth
