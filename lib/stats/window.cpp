#include "stats/window.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "stats/robust.h"

namespace gradhealth::stats {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

}  // namespace

Window::Window(std::size_t capacity) : values_(std::max<std::size_t>(capacity, 1)), sorted_(values_.size()) {}

void Window::push(double value) {
  if (!std::isfinite(value)) return;
  const auto begin = sorted_.begin();
  const auto end = begin + static_cast<std::ptrdiff_t>(size_);
  const auto place = std::upper_bound(begin, end, value);
  if (!full()) {
    std::copy_backward(place, end, end + 1);
    *place = value;
    ++size_;
  } else {
    // What lies between the places of the oldest value and of the new one moves by one.
    const auto oldest = std::lower_bound(begin, end, values_[next_]);
    if (oldest < place) {
      std::copy(oldest + 1, place, oldest);
      *(place - 1) = value;
    } else {
      std::copy_backward(place, oldest, oldest + 1);
      *place = value;
    }
  }
  values_[next_] = value;
  next_ = next_ + 1 == values_.size() ? 0 : next_ + 1;
}

void Window::clear() {
  size_ = 0;
  next_ = 0;
}

double Window::median() const { return size_ == 0 ? kNone : sorted_[(size_ - 1) / 2]; }

double Window::sigma() const {
  if (size_ == 0) return kNone;
  const std::size_t middle = (size_ - 1) / 2;
  const double centre = sorted_[middle];
  // Distances grow to both sides of the median: the first half of them is taken from there outwards.
  std::size_t below = middle;
  std::size_t above = middle + 1;
  double distance = 0;
  for (std::size_t taken = 0; taken < middle; ++taken) {
    const double down = below > 0 ? centre - sorted_[below - 1] : HUGE_VAL;
    const double up = above < size_ ? sorted_[above] - centre : HUGE_VAL;
    distance = std::min(down, up);
    down < up ? --below : ++above;
  }
  return kMadToSigma * distance;
}

double Window::quantile(double p) const {
  if (size_ == 0) return kNone;
  const double position = p * static_cast<double>(size_ - 1);
  const auto below = static_cast<std::size_t>(std::floor(position));
  const double low = sorted_[below];
  if (below + 1 >= size_) return low;
  return low + (position - static_cast<double>(below)) * (sorted_[below + 1] - low);
}

double Window::minimum() const { return size_ == 0 ? kNone : sorted_.front(); }
double Window::maximum() const { return size_ == 0 ? kNone : sorted_[size_ - 1]; }

}  // namespace gradhealth::stats
