#include "hooks/statistics/readback.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <thread>

#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "hooks/statistics/reading.h"

namespace gradhealth::hooks {
namespace {

constexpr std::chrono::microseconds kBetweenPolls{100};

}  // namespace

c10::Stream current_stream(const c10::Device& device) {
  if (device.is_cpu()) return c10::Stream(c10::Stream::DEFAULT, device);
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

ReadbackSlot Readback::add(const at::Tensor& values) {
  const c10::Stream stream = current_stream(values.device());
  const std::lock_guard<std::mutex> lock(mutex_);
  if (started_) return {};
  auto lane = std::find_if(lanes_.begin(), lanes_.end(),
                           [&](const Lane& l) { return l.stream == stream && l.type == values.scalar_type(); });
  if (lane == lanes_.end()) lane = lanes_.insert(lanes_.end(), Lane{stream, values.scalar_type(), {}, 0, {}, {}});
  const ReadbackSlot slot{static_cast<std::int32_t>(lane - lanes_.begin()), lane->size, values.numel()};
  // Detached: nothing of the graph may outlive the step.
  lane->parts.push_back(values.detach().reshape({-1}));
  lane->size += slot.count;
  return slot;
}

void Readback::start() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (started_) return;
  started_ = true;
  polls_left_ = lanes_.empty() ? 0 : PretendedDevice::polls();
  for (Lane& lane : lanes_) start(lane);
}

void Readback::start(Lane& lane) {
  if (lane.stream.device().is_cpu()) {
    lane.host = at::cat(lane.parts);
  } else {
    const c10::StreamGuard guard(lane.stream);
    const at::Tensor gathered = at::cat(lane.parts);
    // Pinned, or the copy would wait for the device.
    lane.host = at::empty({lane.size}, at::TensorOptions().dtype(lane.type).pinned_memory(true));
    lane.host.copy_(gathered, /*non_blocking=*/true);
    lane.arrived.emplace(lane.stream.device_type());
    lane.arrived->record(lane.stream);
  }
  // Memory of a device goes back to the stream's own pool, behind the copy.
  lane.parts.clear();
}

bool Readback::ready() {
  if (!started_) return lanes_.empty();
  if (polls_left_ > 0) {
    --polls_left_;
    return false;
  }
  return std::all_of(lanes_.begin(), lanes_.end(),
                     [](const Lane& lane) { return !lane.arrived || lane.arrived->query(); });
}

void Readback::wait() {
  // c10::Event can only be asked in LibTorch 1.13.
  while (!ready()) std::this_thread::sleep_for(kBetweenPolls);
}

std::vector<double> Readback::values(const ReadbackSlot& slot) const {
  if (!slot.filled()) return {};
  const Lane& lane = lanes_[static_cast<std::size_t>(slot.lane)];
  assert(lane.host.defined());
  if (lane.type == at::kDouble) {
    const double* begin = lane.host.data_ptr<double>() + slot.begin;
    return {begin, begin + slot.count};
  }
  const float* begin = lane.host.data_ptr<float>() + slot.begin;
  return {begin, begin + slot.count};
}

}  // namespace gradhealth::hooks
