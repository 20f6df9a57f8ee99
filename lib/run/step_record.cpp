#include <limits>

#include <gradhealth/run.h>

namespace gradhealth {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

}  // namespace

void StepRecord::set(Quantity quantity, std::size_t subject, double value) {
  std::vector<double>& column = values_[static_cast<std::size_t>(quantity)];
  if (subject >= column.size()) column.resize(subject + 1, kMissing);
  column[subject] = info(quantity).precision == Precision::kFloat32 ? static_cast<float>(value) : value;
}

void StepRecord::assign(Quantity quantity, const float* values, std::size_t count) {
  values_[static_cast<std::size_t>(quantity)].assign(values, values + count);
}

void StepRecord::assign(Quantity quantity, const double* values, std::size_t count) {
  values_[static_cast<std::size_t>(quantity)].assign(values, values + count);
}

void StepRecord::clear() {
  step = 0;
  wall_time = 0;
  events.clear();
  for (std::vector<double>& column : values_) column.clear();
}

}  // namespace gradhealth
