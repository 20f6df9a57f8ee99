#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <ATen/core/Tensor.h>

#include "hooks/capture/watched_parameters.h"
#include "hooks/origin/gradient_trace.h"
#include "hooks/origin/origin.h"

namespace gradhealth::hooks {

/// The tensors of a model that a step finds there: parameters first, then buffers.
struct ModelState {
  std::vector<WatchedParameter> tensors;
  std::size_t parameters = 0;
};

/// Follows values through the differentiable operators of one step, and remembers where those that are not finite
/// began. What was made on the way and came to nothing, such as the mask before a softmax, is told only when asked for
/// something that it reached.
///
/// Operators may run on any thread. No tensor is kept, only which memory was written by whom.
class FlightRecorder {
 public:
  explicit FlightRecorder(std::shared_ptr<const ModelState> model);

  /// A tensor as an operator finds it.
  struct Found {
    TensorExtremes extremes;
    std::shared_ptr<const OperatorRecord> producer;
    const void* storage = nullptr;
    std::uint32_t version = 0;
    int state = -1;   ///< Index of the parameter or buffer that it is, or was computed from alone.
    int origin = -1;  ///< Of its non-finite values.
  };
  /// An operator in progress: what `begin` saw travels to `end`.
  struct Call {
    std::string op;
    std::uint64_t first_node = 0;
    std::vector<Found> inputs;
  };

  /// At an operator's start. Empty if nothing will be differentiated through it.
  std::optional<Call> begin(std::string op, const std::vector<at::Tensor>& inputs);
  /// At its end: in-place operators have changed their inputs by then.
  void end(Call&& call, const std::vector<at::Tensor>& outputs);
  void fail(const std::string& error) noexcept;
  void add_time(std::int64_t nanoseconds) { gradients_->add_time(nanoseconds); }

  /// Whether a gradient that is not finite has arrived at a parameter.
  bool gradient_is_bad() const { return gradients_->origin().has_value(); }
  /// Where the non-finite values in `loss` began, or, if it is finite, those in the parameters' gradients.
  std::optional<Origin> origin(const at::Tensor& loss) const;
  std::string error() const;
  double own_seconds() const { return gradients_->own_seconds(); }

 private:
  using WeakStorage = c10::weak_intrusive_ptr<c10::StorageImpl>;

  /// Part of a storage whose elements have been looked at.
  struct Scan {
    std::int64_t offset = 0;
    std::uint32_t version = 0;
    TensorExtremes extremes;
  };
  /// What is known of one piece of memory. Weak, because addresses of freed memory are used again.
  struct Memory {
    WeakStorage storage;
    std::shared_ptr<const OperatorRecord> producer;
    int state = -1;
    int origin = -1;
    std::vector<Scan> scans;
  };

  Memory& memory_of(const at::Tensor& tensor);
  TensorExtremes look(const at::Tensor& tensor, Memory& memory);
  Found find(const at::Tensor& tensor);
  void adopt(const at::Tensor& tensor, Memory& memory);
  int outside_origin(const at::Tensor& tensor, const Memory& memory, const TensorExtremes& extremes);
  void place(const Call& call, OperatorRecord& record);
  int origin_of_outputs(const Call& call, const std::shared_ptr<OperatorRecord>& record);
  int add_origin(Origin origin);
  Origin complete(int index) const;
  void forget_freed_memory();

  std::shared_ptr<const ModelState> model_;
  std::shared_ptr<const StorageTable> table_;  ///< Of parameters and buffers.
  std::shared_ptr<GradientTrace> gradients_;
  mutable std::mutex mutex_;
  std::unordered_map<const void*, Memory> memory_;
  std::size_t most_memory_ = 1024;
  std::vector<Origin> origins_;
  std::deque<std::shared_ptr<const OperatorRecord>> ring_;
  std::string last_module_;
  int last_scalar_origin_ = -1;
};

}  // namespace gradhealth::hooks
