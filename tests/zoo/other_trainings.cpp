#include "zoo/other_trainings.h"

#include <cmath>
#include <vector>

#include <torch/torch.h>

#include "zoo/loop.h"

namespace gradhealth::zoo {
namespace {

namespace nn = torch::nn;
namespace optim = torch::optim;

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
