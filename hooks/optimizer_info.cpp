#include "hooks/optimizer_info.h"

#include <torch/optim.h>

namespace gradhealth::hooks {

void describe(torch::optim::Optimizer& optimizer, RunInfo& info) {
  if (optimizer.param_groups().empty()) return;
  const torch::optim::OptimizerOptions& options = optimizer.param_groups().front().options();
  if (const auto* sgd = dynamic_cast<const torch::optim::SGDOptions*>(&options)) {
    info.optimizer = "SGD";
    info.momentum = sgd->momentum();
    info.weight_decay = sgd->weight_decay();
  } else if (const auto* adamw = dynamic_cast<const torch::optim::AdamWOptions*>(&options)) {
    info.optimizer = "AdamW";
    info.momentum = std::get<0>(adamw->betas());
    info.weight_decay = adamw->weight_decay();
  } else if (const auto* adam = dynamic_cast<const torch::optim::AdamOptions*>(&options)) {
    info.optimizer = "Adam";
    info.momentum = std::get<0>(adam->betas());
    info.weight_decay = adam->weight_decay();
  } else if (const auto* rmsprop = dynamic_cast<const torch::optim::RMSpropOptions*>(&options)) {
    info.optimizer = "RMSprop";
    info.momentum = rmsprop->momentum();
    info.weight_decay = rmsprop->weight_decay();
  } else if (const auto* adagrad = dynamic_cast<const torch::optim::AdagradOptions*>(&options)) {
    info.optimizer = "Adagrad";
    info.weight_decay = adagrad->weight_decay();
  } else if (dynamic_cast<const torch::optim::LBFGSOptions*>(&options)) {
    info.optimizer = "LBFGS";
  } else {
    info.optimizer = "other";
  }
}

std::optional<double> learning_rate(const torch::optim::Optimizer& optimizer) {
  const auto& groups = optimizer.param_groups();
  if (groups.empty() || !groups.front().has_options()) return std::nullopt;
  return groups.front().options().get_lr();
}

}  // namespace gradhealth::hooks
