#pragma once

#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "hooks/capture/watched_parameters.h"
#include "hooks/origin/state_guard.h"

namespace torch::nn {
class Module;
}

namespace gradhealth::hooks {

/// Puts a model back at the end of its scope: weights, buffers, random generators, gradients, training modes. Until
/// then the parameters have no gradients.
class Untouched {
 public:
  /// The parameters' list must outlive it.
  Untouched(torch::nn::Module& model, const ParameterList& parameters, const NamedTensors& buffers);
  ~Untouched();
  Untouched(const Untouched&) = delete;
  Untouched& operator=(const Untouched&) = delete;

 private:
  const ParameterList& parameters_;
  std::vector<at::Tensor> gradients_;
  std::vector<std::pair<torch::nn::Module*, bool>> modes_;  ///< Parents before their children.
  StateGuard state_;
};

}  // namespace gradhealth::hooks
