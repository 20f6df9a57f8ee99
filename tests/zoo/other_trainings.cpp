#include "zoo/other_trainings.h"

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include <gradhealth/hooks.h>

#include "zoo/data.h"

namespace gradhealth::zoo {
namespace {

namespace nn = torch::nn;
namespace optim = torch::optim;

MonitorOptions quiet() {
  MonitorOptions options;
  options.messages = Messages::kNone;
  options.budget = 0;
  return options;
}

Result finish(Monitor& monitor) {
  monitor.close();
  Result result;
  result.diagnosis = monitor.diagnosis();
  return result;
}

/// The usual loop over batches of a data set.
template <typename Step>
void each_batch(const Data& data, std::int64_t steps, std::int64_t size, Step&& step) {
  torch::Tensor order;
  const std::int64_t batches = data.train_x.size(0) / size;
  for (std::int64_t i = 0; i < steps; ++i) {
    if (i % batches == 0) order = torch::randperm(data.train_x.size(0));
    const torch::Tensor batch = order.slice(0, i % batches * size, (i % batches + 1) * size);
    step(i, data.train_x.index_select(0, batch), data.train_y.index_select(0, batch));
  }
}

/// Words of which each has four likely successors: [batch × time].
torch::Tensor text(std::int64_t batch, std::int64_t time, const torch::Tensor& successors) {
  std::vector<torch::Tensor> words{torch::randint(successors.size(0), {batch})};
  while (static_cast<std::int64_t>(words.size()) < time) {
    const torch::Tensor likely =
        successors.index_select(0, words.back()).gather(1, torch::randint(4, {batch, 1})).squeeze(1);
    words.push_back(torch::where(torch::rand({batch}) < 0.9, likely, torch::randint(successors.size(0), {batch})));
  }
  return torch::stack(words, 1);
}

struct LstmLanguageImpl : nn::Module {
  nn::Embedding embedding = register_module("embedding", nn::Embedding(40, 24));
  nn::LSTM lstm = register_module("lstm", nn::LSTM(nn::LSTMOptions(24, 48).batch_first(true)));
  nn::Linear out = register_module("out", nn::Linear(48, 40));
  torch::Tensor forward(const torch::Tensor& x) { return out(std::get<0>(lstm(embedding(x)))); }
};
TORCH_MODULE(LstmLanguage);

/// One block of causal attention, written out, with the output's weight tied to the embedding.
struct TransformerLanguageImpl : nn::Module {
  nn::Embedding embedding = register_module("embedding", nn::Embedding(40, 32));
  torch::Tensor position = register_parameter("position", 0.02 * torch::randn({16, 32}));
  nn::LayerNorm norm1 = register_module("norm1", nn::LayerNorm(nn::LayerNormOptions({32})));
  nn::Linear qkv = register_module("qkv", nn::Linear(32, 96));
  nn::Linear projection = register_module("projection", nn::Linear(32, 32));
  nn::LayerNorm norm2 = register_module("norm2", nn::LayerNorm(nn::LayerNormOptions({32})));
  nn::Linear up = register_module("up", nn::Linear(32, 64));
  nn::Linear down = register_module("down", nn::Linear(64, 32));

  torch::Tensor forward(const torch::Tensor& words) {
    torch::Tensor x = embedding(words) + position;
    const auto parts = qkv(norm1(x)).chunk(3, -1);
    const torch::Tensor mask = torch::ones({16, 16}, torch::kBool).triu(1);
    torch::Tensor scores = torch::matmul(parts[0], parts[1].transpose(1, 2)) / std::sqrt(32.0);
    scores = scores.masked_fill(mask, -INFINITY);
    x = x + projection(torch::matmul(torch::softmax(scores, -1), parts[2]));
    x = x + down(torch::gelu(up(norm2(x))));
    return torch::matmul(x, embedding->weight.t());
  }
};
TORCH_MODULE(TransformerLanguage);

template <typename Model>
Result language(Model net, optim::Optimizer& optimizer, const std::filesystem::path& file, std::int64_t warm_up) {
  const torch::Tensor successors = torch::randint(40, {40, 4});
  Monitor monitor(*net, optimizer, file, quiet());
  const double lr = optimizer.param_groups().front().options().get_lr();
  for (std::int64_t step = 0; step < 300; ++step) {
    const double share = warm_up > 0 ? std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(warm_up)) : 1;
    for (auto& group : optimizer.param_groups()) group.options().set_lr(lr * share);
    const torch::Tensor words = text(16, 17, successors);
    optimizer.zero_grad();
    const torch::Tensor logits = net->forward(words.slice(1, 0, 16));
    const torch::Tensor loss = torch::cross_entropy_loss(logits.reshape({-1, 40}), words.slice(1, 1, 17).reshape({-1}));
    loss.backward();
    monitor.clip_grad_norm(1);
    monitor.step(loss);
    optimizer.step();
  }
  return finish(monitor);
}

nn::Sequential mlp(std::int64_t in, std::int64_t hidden, std::int64_t out) {
  return nn::Sequential(nn::Linear(in, hidden), nn::LeakyReLU(nn::LeakyReLUOptions().negative_slope(0.2)),
                        nn::Linear(hidden, hidden), nn::LeakyReLU(nn::LeakyReLUOptions().negative_slope(0.2)),
                        nn::Linear(hidden, out));
}

std::size_t badness(const Diagnosis& diagnosis) {
  std::size_t bad = 0;
  for (const DiagnosedFinding& root : diagnosis.roots) bad += root.finding.severity != Severity::kInfo;
  return bad;
}

struct VaeImpl : nn::Module {
  nn::Linear encode = register_module("encode", nn::Linear(196, 128));
  nn::Linear mean = register_module("mean", nn::Linear(128, 8));
  nn::Linear log_variance = register_module("log_variance", nn::Linear(128, 8));
  nn::Linear decode1 = register_module("decode1", nn::Linear(8, 128));
  nn::Linear decode2 = register_module("decode2", nn::Linear(128, 196));

  torch::Tensor loss(const torch::Tensor& x) {
    const torch::Tensor h = torch::relu(encode(x));
    const torch::Tensor mu = mean(h);
    const torch::Tensor lv = log_variance(h);
    const torch::Tensor z = mu + torch::exp(0.5 * lv) * torch::randn_like(mu);
    const torch::Tensor y = torch::sigmoid(decode2(torch::relu(decode1(z))));
    return torch::binary_cross_entropy(y, x, {}, at::Reduction::Sum) - 0.5 * torch::sum(1 + lv - mu.pow(2) - lv.exp());
  }
};
TORCH_MODULE(Vae);

/// A pole on a cart, sixteen at once; an episode ends when the pole falls.
struct Poles {
  torch::Tensor state = 0.05 * torch::randn({16, 4});

  /// @returns whether each pole fell.
  torch::Tensor step(const torch::Tensor& action) {
    const torch::Tensor force = action.to(torch::kFloat32) * 20 - 10;
    const torch::Tensor v = state.select(1, 1);
    const torch::Tensor angle = state.select(1, 2);
    const torch::Tensor w = state.select(1, 3);
    const torch::Tensor t = (force + 0.05 * w * w * angle.sin()) / 1.1;
    const torch::Tensor acceleration =
        (9.8 * angle.sin() - angle.cos() * t) / (0.5 * (4.0 / 3 - 0.1 * angle.cos().pow(2) / 1.1));
    const torch::Tensor push = t - 0.05 * acceleration * angle.cos() / 1.1;
    state = state + 0.02 * torch::stack({v, push, w, acceleration}, 1);
    const torch::Tensor fell = state.select(1, 0).abs().gt(2.4).logical_or(state.select(1, 2).abs().gt(0.21));
    state = torch::where(fell.unsqueeze(1), 0.05 * torch::randn({16, 4}), state);
    return fell;
  }
};

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

struct ZeroInitBlockImpl : nn::Module {
  nn::Linear first = register_module("first", nn::Linear(32, 32));
  nn::Linear second = register_module("second", nn::Linear(32, 32));
  ZeroInitBlockImpl() {
    nn::init::zeros_(second->weight);
    nn::init::zeros_(second->bias);
  }
  torch::Tensor forward(const torch::Tensor& x) { return x + second(torch::relu(first(x))); }
};
TORCH_MODULE(ZeroInitBlock);

struct AdapterImpl : nn::Module {
  nn::Linear frozen = register_module("frozen", nn::Linear(10, 64));
  torch::Tensor a = register_parameter("a", torch::randn({10, 4}) / std::sqrt(10.0));
  torch::Tensor b = register_parameter("b", torch::zeros({4, 64}));
  nn::Linear out = register_module("out", nn::Linear(64, 4));
  AdapterImpl() {
    for (torch::Tensor& parameter : frozen->parameters()) parameter.requires_grad_(false);
  }
  torch::Tensor forward(const torch::Tensor& x) {
    return out(torch::relu(frozen(x) + torch::matmul(torch::matmul(x, a), b)));
  }
};
TORCH_MODULE(Adapter);

template <typename Model>
Result classify(Model net, optim::Optimizer& optimizer, std::uint64_t seed, const std::filesystem::path& file,
                std::int64_t steps) {
  const Data data = make_data("blobs", seed);
  Monitor monitor(*net, optimizer, file, quiet());
  each_batch(data, steps, 32, [&](std::int64_t, const torch::Tensor& x, const torch::Tensor& y) {
    optimizer.zero_grad();
    const torch::Tensor loss = torch::cross_entropy_loss(net->forward(x), y);
    loss.backward();
    monitor.step(loss);
    optimizer.step();
  });
  return finish(monitor);
}

}  // namespace

Result language_lstm(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  LstmLanguage net;
  optim::Adam optimizer(net->parameters(), optim::AdamOptions(3e-3));
  return language(net, optimizer, file, 0);
}

Result language_transformer(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  TransformerLanguage net;
  nn::init::normal_(net->embedding->weight, 0, 0.3);
  optim::AdamW optimizer(net->parameters(), optim::AdamWOptions(3e-3));
  return language(net, optimizer, file, 40);
}

Result gan(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  nn::Sequential generator = mlp(8, 32, 2);
  nn::Sequential critic = mlp(2, 32, 1);
  const auto options = optim::AdamOptions(1e-3).betas({0.5, 0.9});
  optim::Adam generator_optimizer(generator->parameters(), options);
  optim::Adam critic_optimizer(critic->parameters(), options);
  MonitorOptions named = quiet();
  named.name = "generator";
  const std::filesystem::path directory = file.parent_path() / (file.stem().string() + "-gan");
  std::filesystem::create_directories(directory);
  Monitor generator_monitor(*generator, generator_optimizer, directory, named);
  named.name = "critic";
  Monitor critic_monitor(*critic, critic_optimizer, directory, named);
  const auto bce = [](const torch::Tensor& logits, double label) {
    return torch::binary_cross_entropy_with_logits(logits, torch::full_like(logits, label));
  };
  for (int step = 0; step < 400; ++step) {
    const torch::Tensor angle = 2 * M_PI * torch::rand({64});
    const torch::Tensor real = torch::stack({angle.cos(), angle.sin()}, 1) + 0.05 * torch::randn({64, 2});
    critic_optimizer.zero_grad();
    const torch::Tensor fake = generator->forward(torch::randn({64, 8}));
    const torch::Tensor critic_loss = bce(critic->forward(real), 1) + bce(critic->forward(fake.detach()), 0);
    critic_loss.backward();
    critic_monitor.step(critic_loss);
    critic_optimizer.step();
    generator_optimizer.zero_grad();
    const torch::Tensor generator_loss = bce(critic->forward(fake), 1);
    generator_loss.backward();
    generator_monitor.step(generator_loss);
    generator_optimizer.step();
  }
  const Result first = finish(generator_monitor);
  const Result second = finish(critic_monitor);
  return badness(first.diagnosis) >= badness(second.diagnosis) ? first : second;
}

Result vae(std::uint64_t seed, const std::filesystem::path& file) {
  const Data data = make_data("images", seed);
  torch::manual_seed(seed);
  Vae net;
  optim::Adam optimizer(net->parameters(), optim::AdamOptions(1e-3));
  Monitor monitor(*net, optimizer, file, quiet());
  each_batch(data, 300, 64, [&](std::int64_t, const torch::Tensor& x, const torch::Tensor&) {
    optimizer.zero_grad();
    const torch::Tensor loss = net->loss(x.flatten(1));
    loss.backward();
    monitor.step(loss);
    optimizer.step();
  });
  return finish(monitor);
}

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

Result loss_scaler(std::uint64_t seed, const std::filesystem::path& file) {
  const Data data = make_data("blobs", seed);
  torch::manual_seed(seed);
  nn::Sequential net(nn::Linear(10, 50), nn::ReLU(), nn::Linear(50, 4));
  optim::SGD optimizer(net->parameters(), optim::SGDOptions(0.05).momentum(0.9));
  Monitor monitor(*net, optimizer, file, quiet());
  // Near float's largest, as 65536 is near half's: the first steps overflow and are skipped.
  double scale = std::ldexp(1.0, 130);
  each_batch(data, 300, 32, [&](std::int64_t, const torch::Tensor& x, const torch::Tensor& y) {
    optimizer.zero_grad();
    const torch::Tensor loss = torch::cross_entropy_loss(net->forward(x), y);
    (loss * scale).backward();
    bool finite = true;
    for (torch::Tensor& parameter : net->parameters()) {
      finite &= torch::isfinite(parameter.grad()).all().item<bool>();
      parameter.mutable_grad().div_(scale);
    }
    monitor.step(loss);
    if (finite)
      optimizer.step();
    else
      scale /= 4;
  });
  return finish(monitor);
}

Result zero_init_residual(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  nn::Sequential net(nn::Linear(10, 32), ZeroInitBlock(), ZeroInitBlock(), ZeroInitBlock(), nn::Linear(32, 4));
  optim::SGD optimizer(net->parameters(), optim::SGDOptions(0.02).momentum(0.9));
  return classify(net, optimizer, seed, file, 300);
}

Result low_rank_adapter(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  Adapter net;
  std::vector<torch::Tensor> trainable;
  for (const torch::Tensor& parameter : net->parameters())
    if (parameter.requires_grad()) trainable.push_back(parameter);
  optim::AdamW optimizer(trainable, optim::AdamWOptions(3e-3));
  return classify(net, optimizer, seed, file, 300);
}

Result fine_tuning(std::uint64_t seed, const std::filesystem::path& file) {
  torch::manual_seed(seed);
  nn::Sequential net(nn::Linear(10, 64), nn::BatchNorm1d(64), nn::ReLU(), nn::Linear(64, 64), nn::BatchNorm1d(64),
                     nn::ReLU(), nn::Linear(64, 4));
  optim::SGD first(net->parameters(), optim::SGDOptions(0.05).momentum(0.9));
  const Data data = make_data("blobs", seed);
  each_batch(data, 200, 32, [&](std::int64_t, const torch::Tensor& x, const torch::Tensor& y) {
    first.zero_grad();
    torch::cross_entropy_loss(net->forward(x), y).backward();
    first.step();
  });
  for (const auto& module : net->children())
    if (auto* norm = module->as<nn::BatchNorm1d>()) {
      norm->eval();
      for (torch::Tensor& parameter : norm->parameters()) parameter.requires_grad_(false);
    }
  net->ptr(6)->as<nn::Linear>()->reset_parameters();
  std::vector<torch::Tensor> trainable;
  for (const torch::Tensor& parameter : net->parameters())
    if (parameter.requires_grad()) trainable.push_back(parameter);
  optim::SGD optimizer(trainable, optim::SGDOptions(0.01).momentum(0.9));
  return classify(net, optimizer, seed + 1, file, 300);
}

Result autoencoder(std::uint64_t seed, const std::filesystem::path& file) {
  const Data data = make_data("images", seed);
  torch::manual_seed(seed);
  nn::Sequential net(nn::Linear(196, 64), nn::ReLU(), nn::Linear(64, 8), nn::Linear(8, 64), nn::ReLU(),
                     nn::Linear(64, 196), nn::Sigmoid());
  optim::Adam optimizer(net->parameters(), optim::AdamOptions(1e-3));
  Monitor monitor(*net, optimizer, file, quiet());
  each_batch(data, 400, 64, [&](std::int64_t, const torch::Tensor& x, const torch::Tensor&) {
    optimizer.zero_grad();
    const torch::Tensor pixels = x.flatten(1);
    const torch::Tensor loss = torch::mse_loss(net->forward(pixels), pixels);
    loss.backward();
    monitor.step(loss);
    optimizer.step();
  });
  return finish(monitor);
}

Result manual_updates(std::uint64_t seed, const std::filesystem::path& file) {
  const Data data = make_data("blobs", seed);
  torch::manual_seed(seed);
  nn::Sequential net(nn::Linear(10, 50), nn::ReLU(), nn::Linear(50, 4));
  Monitor monitor(*net, file, quiet());
  each_batch(data, 300, 32, [&](std::int64_t, const torch::Tensor& x, const torch::Tensor& y) {
    net->zero_grad();
    const torch::Tensor loss = torch::cross_entropy_loss(net->forward(x), y);
    loss.backward();
    monitor.step(loss);
    const torch::NoGradGuard no_grad;
    for (torch::Tensor& parameter : net->parameters()) parameter.sub_(parameter.grad(), 0.1);
  });
  return finish(monitor);
}

}  // namespace gradhealth::zoo
