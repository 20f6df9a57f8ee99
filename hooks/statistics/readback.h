#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

namespace gradhealth::hooks {

/// Where in a readback the values of one tensor are.
struct ReadbackSlot {
  std::int32_t lane = -1;  ///< -1: nothing was added.
  std::int64_t begin = 0;
  std::int64_t count = 0;

  bool filled() const { return lane >= 0; }
};

/// The stream on which this thread's operators on `device` run.
c10::Stream current_stream(const c10::Device& device);

/// Brings small tensors from their devices to the host without waiting for them: collects them, starts one copy for
/// each stream (and type) they were computed on, and tells when the copies have arrived. `add` may be called from any
/// thread until `start`; the rest is for one thread.
class Readback {
 public:
  /// @param values float32 or float64, dense, of few elements; not to be changed before `start`.
  /// Once the copies have started, nothing is added any more: an empty slot.
  ReadbackSlot add(const at::Tensor& values);
  /// Gathers what was added on the stream it was computed on, and starts the copies.
  void start();
  bool started() const { return started_; }
  /// Whether all values have arrived; never waits. True if there are none.
  bool ready();
  /// Returns when all values have arrived.
  void wait();
  /// @pre ready(). Empty for an empty slot.
  std::vector<double> values(const ReadbackSlot& slot) const;

 private:
  /// What is computed on one stream is gathered and copied there: no stream waits for another.
  struct Lane {
    c10::Stream stream;
    at::ScalarType type;
    std::vector<at::Tensor> parts;
    std::int64_t size = 0;
    at::Tensor host;
    std::optional<c10::Event> arrived;  ///< Not for tensors that are on the CPU already.
  };

  void start(Lane& lane);

  std::mutex mutex_;  ///< Guards lanes_ until `start`.
  std::vector<Lane> lanes_;
  bool started_ = false;
  int polls_left_ = 0;  ///< Of a pretended device.
};

}  // namespace gradhealth::hooks
