#include "stats/line_fit.h"

#include <cmath>
#include <limits>

namespace gradhealth::stats {

void LineFit::add(double x, double y) {
  if (!std::isfinite(x) || !std::isfinite(y)) return;
  ++count_;
  const double distance = x - mean_x_;
  mean_x_ += distance / static_cast<double>(count_);
  mean_y_ += (y - mean_y_) / static_cast<double>(count_);
  scatter_x_ += distance * (x - mean_x_);
  scatter_xy_ += distance * (y - mean_y_);
}

double LineFit::slope() const {
  return scatter_x_ > 0 ? scatter_xy_ / scatter_x_ : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace gradhealth::stats
