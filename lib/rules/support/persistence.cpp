#include "rules/support/persistence.h"

#include <algorithm>
#include <limits>

namespace gradhealth::rules {

Persistence::Persistence(double steps, double share)
    : window_(static_cast<std::size_t>(std::max(steps, 1.0))), wanted_(share) {}

void Persistence::observe(bool holds, std::int64_t step) {
  std::uint8_t& oldest = window_[count_ % window_.size()];
  held_ += (holds ? 1 : 0);
  held_ -= oldest;
  oldest = holds ? 1 : 0;
  ++count_;
  if (holds) {
    last_ = step;
    if (!since_) since_ = step;
  } else if (!(share() >= wanted_)) {
    since_.reset();
  }
}

double Persistence::share() const {
  if (count_ == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(held_) / static_cast<double>(std::min(count_, window_.size()));
}

bool Persistence::holds() const { return count_ >= window_.size() && share() >= wanted_; }

}  // namespace gradhealth::rules
