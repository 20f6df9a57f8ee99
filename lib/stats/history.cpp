#include "stats/history.h"

#include <algorithm>
#include <cmath>

#include "stats/robust.h"

namespace gradhealth::stats {

History::History(std::size_t capacity) : means_(capacity), scratch_(capacity) {}

void History::push(double value) {
  if (!std::isfinite(value)) return;
  ++count_;
  ++pending_;
  pending_mean_ += (value - pending_mean_) / static_cast<double>(pending_);
  if (pending_ < stride_) return;
  known_count_ = 0;
  means_[used_++] = pending_mean_;
  pending_ = 0;
  pending_mean_ = 0;
  if (used_ < means_.size()) return;
  for (std::size_t i = 0; i < used_ / 2; ++i) means_[i] = means_[2 * i] / 2 + means_[2 * i + 1] / 2;
  used_ /= 2;
  stride_ *= 2;
}

double History::level(double from, double to) const {
  for (std::size_t i = 0; i < known_count_; ++i)
    if (known_[i].from == from && known_[i].to == to) return known_[i].value;
  const double value = median_between(from, to);
  if (known_count_ < known_.size()) known_[known_count_++] = {from, to, value};
  return value;
}

double History::median_between(double from, double to) const {
  const auto begin = static_cast<std::size_t>(std::floor(from * static_cast<double>(used_)));
  const auto end = std::min(used_, static_cast<std::size_t>(std::ceil(to * static_cast<double>(used_))));
  if (begin >= end) return median_in_place(nullptr, 0);
  std::copy(means_.data() + begin, means_.data() + end, scratch_.data());
  return median_in_place(scratch_.data(), end - begin);
}

}  // namespace gradhealth::stats
