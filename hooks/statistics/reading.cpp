#include "hooks/statistics/reading.h"

#include <algorithm>
#include <atomic>

#include <ATen/ATen.h>

namespace gradhealth::hooks {
namespace {

std::atomic<int> pretended_polls{-1};

}  // namespace

bool is_known(const c10::Device& device) { return device.is_cpu() || device.is_cuda(); }

Reading reading_of(const at::Tensor& tensor) {
  if (!tensor.defined() || !at::isFloatingType(tensor.scalar_type())) return Reading::kNever;
  const bool dense = tensor.layout() == at::kStrided;
  if (tensor.device().is_cpu()) {
    if (!dense) return tensor.layout() == at::kSparse ? Reading::kNow : Reading::kNever;
    return PretendedDevice::exists() ? Reading::kLater : Reading::kNow;
  }
  // Coalescing a sparse tensor asks the device how many elements are left, and waits for the answer.
  return dense && tensor.device().is_cuda() ? Reading::kLater : Reading::kNever;
}

PretendedDevice::PretendedDevice(int polls) { pretended_polls = std::max(polls, 0); }
PretendedDevice::~PretendedDevice() { pretended_polls = -1; }
bool PretendedDevice::exists() { return pretended_polls.load(std::memory_order_relaxed) >= 0; }
int PretendedDevice::polls() { return std::max(pretended_polls.load(std::memory_order_relaxed), 0); }

}  // namespace gradhealth::hooks
