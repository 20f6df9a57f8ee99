#include "export/recorded.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include <fmt/format.h>

#include <gradhealth/report.h>

namespace gradhealth {
namespace {

/// The quantity that counts what was not finite in this one.
std::optional<Quantity> count_for(Quantity quantity) {
  switch (quantity) {
    case Quantity::kLoss: return Quantity::kLossNonfinite;
    case Quantity::kGradientNorm:
    case Quantity::kGradientMax: return Quantity::kGradientNonfinite;
    case Quantity::kWeightNorm: return Quantity::kWeightNonfinite;
    case Quantity::kActivationMean:
    case Quantity::kActivationStd:
    case Quantity::kActivationRms:
    case Quantity::kActivationMax: return Quantity::kActivationNonfinite;
    case Quantity::kActivationGradientNorm: return Quantity::kActivationGradientNonfinite;
    case Quantity::kInputMean:
    case Quantity::kInputStd:
    case Quantity::kInputMin:
    case Quantity::kInputMax: return Quantity::kInputNonfinite;
    default: return std::nullopt;
  }
}

bool any_positive(const std::vector<double>& values) {
  return std::any_of(values.begin(), values.end(), [](double value) { return value > 0; });
}

}  // namespace

bool was_recorded(const StepRecord& record, Quantity quantity, std::size_t subject) {
  if (!std::isnan(record.at(quantity, subject))) return true;
  // The global norm has no count of its own: it is not finite when a part of it is not.
  if (quantity == Quantity::kGlobalGradientNorm) return any_positive(record.values(Quantity::kGradientNonfinite));
  const std::optional<Quantity> count = count_for(quantity);
  return count && record.at(*count, subject) > 0;
}

std::size_t width_of(const Run& run, const StepRecord& record, const QuantityInfo& quantity) {
  if (quantity.axis == Axis::kRun) return 1;
  const std::optional<Quantity> count = count_for(quantity.id);
  const std::size_t recorded =
      std::max(record.values(quantity.id).size(), count ? record.values(*count).size() : std::size_t{0});
  return std::min(run.of(quantity.axis).size(), recorded);
}

std::vector<std::string> unique_names(const std::vector<Subject>& subjects) {
  std::map<std::string, int> seen;
  std::vector<std::string> names;
  for (const Subject& subject : subjects) {
    const std::string name = printable(subject.name);
    int& count = seen[name];
    names.push_back(++count == 1 ? name : fmt::format("{}#{}", name, count));
  }
  return names;
}

std::string quantity_path(const QuantityInfo& quantity, const char* separator) {
  if (quantity.axis == Axis::kRun) return std::string(quantity.name);
  return std::string(name(quantity.axis)) + separator + std::string(quantity.name);
}

}  // namespace gradhealth
