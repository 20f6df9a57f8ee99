#pragma once

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <string>

namespace gradhealth {

/// One line that tells how far the reading of a run is. It appears when a second has passed, changes ten times a
/// second, and is gone at the end.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  /// @param out a terminal that outlives this; nullptr: nothing is told.
  Progress(std::ostream* out, const std::string& run, std::int64_t rows, Clock::time_point now = Clock::now());
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// One more row has been read.
  void advance();
  void advance(Clock::time_point now);

 private:
  std::ostream* out_;
  std::string run_;
  std::int64_t rows_;
  std::int64_t done_ = 0;
  bool shown_ = false;
  Clock::time_point next_;
};

}  // namespace gradhealth
