#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace torch::optim {
class Optimizer;
}

namespace gradhealth::hooks {

/// The latest two states of a training that were healthy, in memory.
class HealthyStates {
 public:
  /// @param tensors weights and buffers, as they are to be put back; @param optimizer may be null.
  void keep(std::int64_t step, const std::vector<at::Tensor>& tensors, const torch::optim::Optimizer* optimizer);
  /// Puts back the latest state before `onset`, or the older one if both are later, and forgets a later one.
  /// @returns its step; nothing if none was kept.
  std::optional<std::int64_t> restore(std::int64_t onset, torch::optim::Optimizer* optimizer);

 private:
  struct State {
    std::int64_t step = 0;
    std::vector<at::Tensor> tensors;
    std::vector<at::Tensor> copies;
    std::string optimizer;  ///< As torch::save writes it.
  };

  std::deque<State> states_;  ///< Oldest first.
};

}  // namespace gradhealth::hooks
