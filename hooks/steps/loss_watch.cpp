#include "hooks/steps/loss_watch.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>

#include "hooks/statistics/reading.h"

namespace gradhealth::hooks {
namespace {

constexpr double kSmoothing = 0.05;
constexpr std::int64_t kFewSteps = 20;
constexpr double kFarOut = 20;  // Deviations; only decides what is recorded, the rules judge.

}  // namespace

bool is_late_loss(const at::Tensor& loss) {
  return loss.defined() && loss.numel() == 1 && reading_of(loss) == Reading::kLater;
}

double loss_value(const at::Tensor& loss) {
  if (!loss.defined() || loss.numel() != 1) return std::numeric_limits<double>::quiet_NaN();
  // Without the dispatcher where possible: this runs at every step.
  if (loss.device().is_cpu() && loss.scalar_type() == at::kFloat) return *loss.data_ptr<float>();
  if (loss.device().is_cpu() && loss.scalar_type() == at::kDouble) return *loss.data_ptr<double>();
  return loss.item<double>();
}

bool LossWatch::suspicious(double loss) {
  if (!std::isfinite(loss)) return true;
  const double distance = std::fabs(loss - mean_);
  const bool far_out = steps_ >= kFewSteps && distance > kFarOut * deviation_ && distance > std::fabs(mean_);
  const double weight = std::max(kSmoothing, 1.0 / static_cast<double>(++steps_));
  mean_ += weight * (loss - mean_);
  deviation_ += weight * (distance - deviation_);
  return far_out;
}

}  // namespace gradhealth::hooks
