#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "hooks/capture/watched_parameters.h"
#include "hooks/torch_compat.h"

namespace gradhealth::hooks {

/// Calls back whenever a backward pass is about to add, and has added, to the gradient of one of a model's parameters,
/// on the thread that did. Nothing else tells: a node's name does not say whose gradient it is, and to compare
/// gradients before and after would be to read them while another thread's pass writes them.
class AccumulationHooks {
 public:
  /// Called with the parameter's place in the list and its gradient so far.
  using Accumulating = std::function<void(std::size_t, const at::Tensor&)>;

  /// Neither may throw.
  AccumulationHooks(Accumulating accumulating, std::function<void()> accumulated);
  ~AccumulationHooks();
  AccumulationHooks(const AccumulationHooks&) = delete;
  AccumulationHooks& operator=(const AccumulationHooks&) = delete;

  /// Also for parameters that have been unfrozen or replaced since the last call.
  void attach(const std::vector<WatchedParameter>& parameters);

 private:
  struct Attached {
    NodePtr accumulator;
    std::uintptr_t key = 0;
  };

  std::shared_ptr<const Accumulating> accumulating_;          ///< Of the hooks, weakly.
  std::shared_ptr<const std::function<void()>> accumulated_;  ///< Of the hooks, weakly.
  std::vector<Attached> attached_;                            ///< By parameter.
};

}  // namespace gradhealth::hooks
