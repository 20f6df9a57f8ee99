#include <utility>
#include <vector>

#include <torch/torch.h>

#include "zoo/loop.h"
#include "zoo/other_trainings.h"
#include "zoo/poles.h"

namespace gradhealth::zoo {
namespace {

namespace nn = torch::nn;
namespace optim = torch::optim;

struct ActorCriticImpl : nn::Module {
  nn::Linear body = register_module("body", nn::Linear(4, 64));
  nn::Linear policy = register_module("policy", nn::Linear(64, 2));
  nn::Linear value = register_module("value", nn::Linear(64, 1));

  std::pair<torch::Tensor, torch::Tensor> forward(const torch::Tensor& x) {
    const torch::Tensor h = torch::tanh(body(x));
    return {torch::log_softmax(policy(h), -1), value(h).squeeze(-1)};
  }
};
TORCH_MODULE(ActorCritic);

struct Rollout {
  torch::Tensor states, actions, log_probabilities, returns, advantages;
};

Rollout play(ActorCritic& net, Poles& poles) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> states, actions, logs, values, falls;
  for (int t = 0; t < 32; ++t) {
    const auto [log_policy, value] = net->forward(poles.state);
    const torch::Tensor action = log_policy.exp().multinomial(1).squeeze(1);
    states.push_back(poles.state);
    actions.push_back(action);
    logs.push_back(log_policy.gather(1, action.unsqueeze(1)).squeeze(1));
    values.push_back(value);
    falls.push_back(poles.step(action).to(torch::kFloat32));
  }
  torch::Tensor next = net->forward(poles.state).second;
  std::vector<torch::Tensor> returns(32);
  for (int t = 31; t >= 0; --t) {
    next = 1 + 0.98 * next * (1 - falls[static_cast<std::size_t>(t)]);
    returns[static_cast<std::size_t>(t)] = next;
  }
  Rollout rollout{torch::cat(states), torch::cat(actions), torch::cat(logs), torch::cat(returns), {}};
  rollout.advantages = rollout.returns - torch::cat(values);
  rollout.advantages = (rollout.advantages - rollout.advantages.mean()) / (rollout.advantages.std() + 1e-6);
  return rollout;
}

}  // namespace

Result actor_critic(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  ActorCritic net;
  optim::Adam optimizer(net->parameters(), optim::AdamOptions(3e-3));
  Monitor monitor(*net, optimizer, file, quiet());
  Poles poles;
  for (int iteration = 0; iteration < 40; ++iteration) {
    const Rollout rollout = play(net, poles);
    for (int epoch = 0; epoch < 8; ++epoch) {
      const torch::Tensor batch = torch::randperm(512).slice(0, 0, 256);
      const auto [log_policy, value] = net->forward(rollout.states.index_select(0, batch));
      const torch::Tensor logs = log_policy.gather(1, rollout.actions.index_select(0, batch).unsqueeze(1)).squeeze(1);
      const torch::Tensor ratio = (logs - rollout.log_probabilities.index_select(0, batch)).exp();
      const torch::Tensor advantage = rollout.advantages.index_select(0, batch);
      const torch::Tensor surrogate = torch::min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean();
      const torch::Tensor value_loss = (value - rollout.returns.index_select(0, batch)).pow(2).mean();
      const torch::Tensor entropy = -(log_policy.exp() * log_policy).sum(1).mean();
      const torch::Tensor loss = -surrogate + 0.01 * value_loss - 0.01 * entropy;
      optimizer.zero_grad();
      loss.backward();
      monitor.clip_grad_norm(0.5);
      monitor.step(loss);
      optimizer.step();
    }
  }
  return finish(monitor);
}

}  // namespace gradhealth::zoo
