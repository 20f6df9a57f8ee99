#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>

#include <ATen/core/Tensor.h>

namespace gradhealth::hooks {

/// Which of a model's gradients already held something when a step's first backward pass added to them: those that
/// nobody has set to zero since an earlier step. `before_accumulation` may be called from any thread, the rest when no
/// backward pass runs.
class CarriedGradients {
 public:
  /// Whatever was added so far belongs to no step, or to one that is over.
  void begin(std::size_t parameters);
  /// The gradient as it is before it is added to. Looks at a few of its elements.
  void before_accumulation(std::size_t parameter, const at::Tensor& gradient) noexcept;
  /// Share of the parameters that were added to. Nothing if none was, or if one is on a device, which would have to be
  /// waited for.
  std::optional<double> share() const;

 private:
  enum State : std::uint8_t { kUntouched, kClean, kCarried, kUnknown };

  std::deque<std::atomic<std::uint8_t>> states_;  ///< By parameter.
};

}  // namespace gradhealth::hooks
