#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include "hooks/origin/state_guard.h"

namespace gradhealth::hooks {

/// Computes a step's loss again with the trainer's own closure. Whatever comes of it, random generators and buffers are
/// as they were before; the trainer's gradients are not touched.
class Replay {
 public:
  /// @param parameters gradients are computed with respect to them.
  /// @param buffers saved and restored.
  Replay(std::vector<at::Tensor> parameters, std::vector<at::Tensor> buffers);

  void set(std::function<at::Tensor()> closure);
  explicit operator bool() const { return static_cast<bool>(closure_); }
  /// At the beginning of a step: what it draws at random, its replay draws again.
  void remember_random_state();
  /// Runs the closure and hands its result to `use`, both with gradients enabled and operators observed.
  /// @throws whatever the closure throws.
  void run(const std::function<void(const at::Tensor& loss)>& use) const;
  /// Differentiates and throws the gradients away.
  void differentiate(const at::Tensor& loss) const;

 private:
  std::vector<at::Tensor> parameters_;
  std::vector<at::Tensor> buffers_;
  std::function<at::Tensor()> closure_;
  RandomState random_;
  /// Of the trainer when it gave the closure: an automatic step may end within an operator, where LibTorch does not
  /// differentiate.
  c10::impl::LocalDispatchKeySet dispatch_ = c10::impl::tls_local_dispatch_key_set();
};

}  // namespace gradhealth::hooks
