#include "hooks/steps/carried_gradients.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "hooks/statistics/reading.h"

namespace gradhealth::hooks {
namespace {

constexpr std::int64_t kElements = 64;

template <typename T>
bool any_nonzero(const T* data, std::int64_t count) {
  const std::int64_t stride = std::max<std::int64_t>(count / kElements, 1);
  for (std::int64_t i = 0; i < count; i += stride)
    if (static_cast<double>(data[i]) != 0) return true;  // NaN is not zero.
  return false;
}

bool any_nonzero(const at::Tensor& gradient) {
  if (gradient.layout() != at::kStrided) return gradient._nnz() > 0;
  if (!gradient.is_non_overlapping_and_dense()) return gradient.count_nonzero().item<std::int64_t>() > 0;
  switch (gradient.scalar_type()) {
    case at::kFloat: return any_nonzero(gradient.data_ptr<float>(), gradient.numel());
    case at::kDouble: return any_nonzero(gradient.data_ptr<double>(), gradient.numel());
    case at::kHalf: return any_nonzero(gradient.data_ptr<at::Half>(), gradient.numel());
    case at::kBFloat16: return any_nonzero(gradient.data_ptr<at::BFloat16>(), gradient.numel());
    default: return false;
  }
}

}  // namespace

void CarriedGradients::begin(std::size_t parameters) {
  if (states_.size() != parameters) states_.resize(parameters);
  for (std::atomic<std::uint8_t>& state : states_) state.store(kUntouched, std::memory_order_relaxed);
}

void CarriedGradients::before_accumulation(std::size_t parameter, const at::Tensor& gradient) noexcept {
  if (parameter >= states_.size()) return;
  std::atomic<std::uint8_t>& state = states_[parameter];
  if (state.load(std::memory_order_relaxed) != kUntouched) return;
  State found = kClean;
  try {
    const Reading reading = gradient.defined() ? reading_of(gradient) : Reading::kNow;
    if (reading != Reading::kNow)
      found = kUnknown;
    else if (gradient.defined() && any_nonzero(gradient))
      found = kCarried;
  } catch (...) {  // It cannot be told.
    found = kUnknown;
  }
  state.store(found, std::memory_order_relaxed);
}

std::optional<double> CarriedGradients::share() const {
  double added = 0;
  double carried = 0;
  for (const std::atomic<std::uint8_t>& state : states_) {
    const std::uint8_t found = state.load(std::memory_order_relaxed);
    if (found == kUnknown) return std::nullopt;
    added += found != kUntouched;
    carried += found == kCarried;
  }
  if (added == 0) return std::nullopt;
  return carried / added;
}

}  // namespace gradhealth::hooks
