#include "rules/support/tally.h"

#include <limits>

namespace gradhealth::rules {

void Tally::add(bool shows, std::int64_t step) {
  ++judged;
  if (!shows) {
    streak = 0;
    return;
  }
  if (seen++ == 0) first = step;
  if (streak++ == 0) streak_since = step;
  last = step;
}

double Tally::share() const {
  if (judged == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(seen) / static_cast<double>(judged);
}

}  // namespace gradhealth::rules
