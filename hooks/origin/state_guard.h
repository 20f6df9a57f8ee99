#pragma once

#include <utility>
#include <vector>

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

namespace gradhealth::hooks {

/// States of the default random generators: the CPU's, and those of the CUDA devices that the model is on.
class RandomState {
 public:
  /// @param tensors where the model is.
  static RandomState now(const std::vector<at::Tensor>& tensors);
  void restore() const;

 private:
  std::vector<std::pair<at::Generator, at::Tensor>> states_;
};

/// Puts random generators and tensors back at the end of its scope.
class StateGuard {
 public:
  StateGuard(const std::vector<at::Tensor>& tensors, RandomState random);
  ~StateGuard();
  StateGuard(const StateGuard&) = delete;
  StateGuard& operator=(const StateGuard&) = delete;

 private:
  std::vector<at::Tensor> tensors_;
  std::vector<at::Tensor> copies_;
  RandomState random_;
};

}  // namespace gradhealth::hooks
