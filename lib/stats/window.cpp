#include "stats/window.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "stats/robust.h"

namespace gradhealth::stats {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

}  // namespace

Window::Window(std::size_t capacity) : values_(capacity), scratch_(capacity) {}

void Window::push(double value) {
  if (!std::isfinite(value)) return;
  values_[next_] = value;
  next_ = (next_ + 1) % values_.size();
  size_ = std::min(size_ + 1, values_.size());
}

void Window::clear() {
  size_ = 0;
  next_ = 0;
}

double Window::median() const {
  std::copy_n(values_.begin(), size_, scratch_.begin());
  return median_in_place(scratch_.data(), size_);
}

double Window::sigma() const {
  const double centre = median();
  for (std::size_t i = 0; i < size_; ++i) scratch_[i] = std::abs(values_[i] - centre);
  return kMadToSigma * median_in_place(scratch_.data(), size_);
}

double Window::quantile(double p) const {
  std::copy_n(values_.begin(), size_, scratch_.begin());
  return quantile_in_place(scratch_.data(), size_, p);
}

double Window::minimum() const {
  return size_ == 0 ? kNone : *std::min_element(values_.begin(), values_.begin() + size_);
}

double Window::maximum() const {
  return size_ == 0 ? kNone : *std::max_element(values_.begin(), values_.begin() + size_);
}

}  // namespace gradhealth::stats
