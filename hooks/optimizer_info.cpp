#include "hooks/optimizer_info.h"

#include <sstream>
#include <string>
#include <type_traits>
#include <utility>

#include <torch/optim.h>

namespace gradhealth::hooks {
namespace {

/// LibTorch 1.13 finds a parameter's state by its address as text, 2.x by the address.
template <typename Key>
Key key_of(const at::Tensor& parameter) {
  if constexpr (std::is_same_v<Key, std::string>) {
    std::ostringstream text;
    text << parameter.unsafeGetTensorImpl();
    return text.str();
  } else {
    return static_cast<Key>(parameter.unsafeGetTensorImpl());
  }
}

}  // namespace

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
    info.beta2 = std::get<1>(adamw->betas());
    info.epsilon = adamw->eps();
    info.weight_decay = adamw->weight_decay();
  } else if (const auto* adam = dynamic_cast<const torch::optim::AdamOptions*>(&options)) {
    info.optimizer = "Adam";
    info.momentum = std::get<0>(adam->betas());
    info.beta2 = std::get<1>(adam->betas());
    info.epsilon = adam->eps();
    info.weight_decay = adam->weight_decay();
  } else if (const auto* rmsprop = dynamic_cast<const torch::optim::RMSpropOptions*>(&options)) {
    info.optimizer = "RMSprop";
    info.momentum = rmsprop->momentum();
    info.beta2 = rmsprop->alpha();
    info.epsilon = rmsprop->eps();
    info.weight_decay = rmsprop->weight_decay();
  } else if (const auto* adagrad = dynamic_cast<const torch::optim::AdagradOptions*>(&options)) {
    info.optimizer = "Adagrad";
    info.epsilon = adagrad->eps();
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

std::vector<at::Tensor> tensors_of(const torch::optim::Optimizer& optimizer) {
  std::vector<at::Tensor> tensors;
  for (const torch::optim::OptimizerParamGroup& group : optimizer.param_groups())
    tensors.insert(tensors.end(), group.params().begin(), group.params().end());
  return tensors;
}

NamedTensors moments_of(const torch::optim::Optimizer& optimizer, const at::Tensor& parameter) {
  using Map = std::decay_t<decltype(optimizer.state())>;
  const auto found = optimizer.state().find(key_of<typename Map::key_type>(parameter));
  if (found == optimizer.state().end() || !found->second) return {};
  const torch::optim::OptimizerParamState* state = found->second.get();
  NamedTensors moments;
  if (const auto* adam = dynamic_cast<const torch::optim::AdamParamState*>(state))
    moments = {{"exp_avg", adam->exp_avg()}, {"exp_avg_sq", adam->exp_avg_sq()}};
  else if (const auto* adamw = dynamic_cast<const torch::optim::AdamWParamState*>(state))
    moments = {{"exp_avg", adamw->exp_avg()}, {"exp_avg_sq", adamw->exp_avg_sq()}};
  else if (const auto* sgd = dynamic_cast<const torch::optim::SGDParamState*>(state))
    moments = {{"momentum_buffer", sgd->momentum_buffer()}};
  else if (const auto* rmsprop = dynamic_cast<const torch::optim::RMSpropParamState*>(state))
    moments = {{"square_avg", rmsprop->square_avg()}, {"momentum_buffer", rmsprop->momentum_buffer()}};
  else if (const auto* adagrad = dynamic_cast<const torch::optim::AdagradParamState*>(state))
    moments = {{"sum", adagrad->sum()}};
  return moments;
}

}  // namespace gradhealth::hooks
