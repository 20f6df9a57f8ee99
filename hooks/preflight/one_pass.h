#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

#include <gradhealth/run.h>

namespace torch::nn {
class Module;
}

namespace gradhealth::hooks {

/// What a monitor records of a step, of one pass that leaves the model as it is.
struct OnePass {
  Run run;
  StepRecord row;
};

/// @throws as preflight() does.
OnePass look_once(torch::nn::Module& model, const std::function<at::Tensor()>& loss);

}  // namespace gradhealth::hooks
