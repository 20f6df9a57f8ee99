#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include <gradhealth/rules.h>

namespace gradhealth::rules {

/// In how many of the records that could be judged something showed, and when.
struct Tally {
  std::size_t judged = 0;
  std::size_t seen = 0;
  std::size_t streak = 0;         ///< Latest records in a row.
  std::int64_t first = 0;         ///< Step at which it showed first …
  std::int64_t last = 0;          ///< … and last.
  std::int64_t streak_since = 0;  ///< Where the latest records in a row began.

  void add(bool shows, std::int64_t step);
  double share() const;  ///< NaN while nothing was judged.
};

/// For an Alarm: 0 without a finding, more for a more severe one.
inline std::size_t alarm_level(std::optional<Severity> severity) {
  return severity ? 1 + static_cast<std::size_t>(*severity) : 0;
}

}  // namespace gradhealth::rules
