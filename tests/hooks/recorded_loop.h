#pragma once

#include <functional>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"

namespace gradhealth::test {

/// Trains `module` with SGD for some steps and returns what was recorded. @param loss_at of the step's number.
Rows record_steps(torch::nn::Module& module, int steps, const std::function<torch::Tensor(int)>& loss_at,
                  const MonitorOptions& options = every_step());

/// The texts of a kind's events; with "subject: " before each.
std::vector<std::string> events_of(const Rows& rows, const std::string& kind);

}  // namespace gradhealth::test
