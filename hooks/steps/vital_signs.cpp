#include "hooks/steps/vital_signs.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <ATen/ATen.h>

namespace gradhealth::hooks {
namespace {

constexpr std::size_t kParameters = 16;
constexpr std::int64_t kElements = 8;
constexpr std::int64_t kFewLooks = 10;
constexpr double kSmoothing = 0.1;
// Eight elements' mean square scatters by a factor of about ten around its mean, that of a sparse gradient by more:
// most of the parameters have to agree, on norms thirty times as large as before.
constexpr double kFarAbove = 900;

template <typename T>
double mean_square(const void* memory, std::int64_t count, std::uint64_t turn) {
  const std::int64_t read = std::min(count, kElements);
  // Multiples of the golden ratio come near every place in turn.
  const auto place = static_cast<std::uint32_t>(turn * 2654435769u);
  const auto begin =
      static_cast<std::int64_t>(static_cast<double>(place) * 0x1p-32 * static_cast<double>(count - read + 1));
  const T* data = static_cast<const T*>(memory) + begin;
  double sum = 0;
  for (std::int64_t i = 0; i < read; ++i) sum += static_cast<double>(data[i]) * static_cast<double>(data[i]);
  return sum / static_cast<double>(read);
}

/// Of a few elements; nothing where they cannot be read in passing. The dispatcher is not asked: it would cost more
/// than all the rest.
std::optional<double> mean_square(const at::Tensor& gradient, std::uint64_t turn) {
  if (!gradient.defined() || !gradient.device().is_cpu() || gradient.layout() != at::kStrided) return std::nullopt;
  const std::int64_t count = gradient.numel();
  if (count == 0 || !gradient.is_non_overlapping_and_dense()) return std::nullopt;
  switch (gradient.scalar_type()) {
    case at::kFloat: return mean_square<float>(gradient.data_ptr(), count, turn);
    case at::kDouble: return mean_square<double>(gradient.data_ptr(), count, turn);
    case at::kHalf: return mean_square<at::Half>(gradient.data_ptr(), count, turn);
    case at::kBFloat16: return mean_square<at::BFloat16>(gradient.data_ptr(), count, turn);
    default: return std::nullopt;
  }
}

}  // namespace

bool VitalSigns::suspicious() {
  const std::vector<WatchedParameter>& all = parameters_.all();
  histories_.resize(all.size());
  ++calls_;
  int known = 0;
  int far_above = 0;
  bool finite = true;
  for (std::size_t look = 0; look < std::min(kParameters, all.size()); ++look) {
    next_ = next_ + 1 < all.size() ? next_ + 1 : 0;
    const std::optional<double> square = mean_square(all[next_].tensor.grad(), calls_);
    if (!square) continue;
    if (!std::isfinite(*square)) {
      finite = false;
      continue;
    }
    History& history = histories_[next_];
    if (history.looks >= kFewLooks && history.mean_square > 0) {
      ++known;
      far_above += *square > kFarAbove * history.mean_square;
    }
    const double weight = std::max(kSmoothing, 1.0 / static_cast<double>(++history.looks));
    history.mean_square += weight * (*square - history.mean_square);
  }
  return !finite || 2 * far_above > known;
}

bool has_nonfinite(const StepRecord& row) {
  for (const Quantity quantity :
       {Quantity::kGradientNonfinite, Quantity::kWeightNonfinite, Quantity::kActivationGradientNonfinite}) {
    const std::vector<double>& counts = row.values(quantity);
    if (std::any_of(counts.begin(), counts.end(), [](double count) { return count > 0; })) return true;
  }
  return false;
}

}  // namespace gradhealth::hooks
