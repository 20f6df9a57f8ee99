#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace gradhealth {

struct ScreenSize {
  std::size_t width = 80;
  std::size_t height = 24;
};

/// Of standard output's terminal.
ScreenSize screen_size();

/// Lines of a terminal that are drawn again where they stand. Only what has changed is sent, and between two drawings
/// the terminal is as anyone would leave it: the cursor is visible and below the lines.
class Screen {
 public:
  /// What to send so that the terminal shows `lines` instead of those before; empty if nothing has changed.
  std::string redraw(const std::vector<std::string>& lines, const ScreenSize& size);
  /// What to send so that the terminal is as anyone would leave it, should it have dropped a part of the last drawing:
  /// a terminal does when the key is pressed that interrupts.
  std::string restored() const;

 private:
  std::vector<std::string> shown_;
  ScreenSize size_;
};

}  // namespace gradhealth
