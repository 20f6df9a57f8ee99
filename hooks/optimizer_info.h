#pragma once

#include <optional>

#include <gradhealth/run.h>

namespace torch::optim {
class Optimizer;
}

namespace gradhealth::hooks {

/// Fills in what the run's info says of the optimizer: its kind, momentum and weight decay, of the first group.
void describe(torch::optim::Optimizer& optimizer, RunInfo& info);

/// Of the first parameter group; nothing if there is none.
std::optional<double> learning_rate(const torch::optim::Optimizer& optimizer);

}  // namespace gradhealth::hooks
