#pragma once

#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include <gradhealth/hooks.h>
#include <gradhealth/run.h>

namespace torch::optim {
class Optimizer;
}

namespace gradhealth::hooks {

/// Fills in what the run's info says of the optimizer: its kind and options, of the first group.
void describe(torch::optim::Optimizer& optimizer, RunInfo& info);

/// Of the first parameter group; nothing if there is none.
std::optional<double> learning_rate(const torch::optim::Optimizer& optimizer);

/// The tensors in its parameter groups.
std::vector<at::Tensor> tensors_of(const torch::optim::Optimizer& optimizer);

/// What the optimizer remembers of a parameter, by LibTorch's own names ("exp_avg_sq"): empty before its first step.
NamedTensors moments_of(const torch::optim::Optimizer& optimizer, const at::Tensor& parameter);

}  // namespace gradhealth::hooks
