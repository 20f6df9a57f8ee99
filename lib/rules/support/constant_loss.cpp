#include "rules/support/constant_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace gradhealth::rules {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
constexpr double kSome = 0.05;      ///< Nats; below that nearly all targets are the same.
constexpr double kNearlyAll = 0.9;  ///< Variance over p (1 - p) of targets that are 0 or 1.

}  // namespace

void ConstantLoss::observe(const StepRecord& record) {
  operators_.observe(record);
  if (const double entropy = record.at(Quantity::kTargetEntropy); std::isfinite(entropy)) entropy_ = entropy;
  const double batch = record.at(Quantity::kBatchSize);
  targets_.add_group(batch > 0 ? batch : 1, record.at(Quantity::kTargetMean), record.at(Quantity::kTargetStd));
  if (const double least = record.at(Quantity::kTargetMin); least < least_) least_ = least;
  if (const double most = record.at(Quantity::kTargetMax); most > most_) most_ = most;
}

double ConstantLoss::entropy_of_base_rate() const {
  const double p = targets_.mean();
  if (least_ < 0 || most_ > 1 || !(p > 0 && p < 1) || !(targets_.variance() > kNearlyAll * p * (1 - p)))
    return kUnknown;
  return -p * std::log(p) - (1 - p) * std::log(1 - p);
}

double ConstantLoss::value() const {
  const LossOperator* only = operators_.only();
  if (only == nullptr || !(only->reduction.empty() || only->reduction == "mean")) return kUnknown;
  if (only->name == "mse_loss") return targets_.variance() > 0 ? targets_.variance() : kUnknown;
  const double entropy = is_class_loss(only->name) ? entropy_ : is_binary_loss(only->name) ? entropy_of_base_rate() : 0;
  return entropy > kSome ? entropy : kUnknown;
}

std::string ConstantLoss::words() const {
  const LossOperator* only = operators_.only();
  if (only == nullptr) return "";
  if (only->name == "mse_loss") return "the variance of the targets";
  return is_class_loss(only->name) ? "the entropy of the classes" : "the entropy of the base rate";
}

}  // namespace gradhealth::rules
