// The optimizer and the model's buffers.
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/recorded_loop.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace nn = torch::nn;
using Texts = std::vector<std::string>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct MaskedNetImpl : nn::Module {
  nn::Linear layer = register_module("layer", nn::Linear(4, 3));
  nn::BatchNorm1d norm = register_module("norm", nn::BatchNorm1d(3));
  torch::Tensor mask = register_buffer("mask", torch::tensor({0.0f, -kInfinity, 0.0f}));
  torch::Tensor forward(const torch::Tensor& x) { return torch::softmax(norm(layer(x)) + mask, 1); }
};
TORCH_MODULE(MaskedNet);

/// Two steps; @param between them.
template <typename Optimizer, typename Module, typename Between>
Rows two_steps(Optimizer& optimizer, Module& net, Between&& between) {
  TemporaryDirectory directory;
  Monitor monitor(*net, optimizer, directory / "run.h5", every_step());
  for (int step = 0; step < 2; ++step) {
    optimizer.zero_grad();
    const torch::Tensor loss = net->forward(torch::randn({7, 4})).square().mean();
    loss.backward();
    monitor.step(loss);
    optimizer.step();
    if (step == 0) between();
  }
  monitor.close();
  REQUIRE(monitor.status().error.empty());
  return Rows(directory / "run.h5");
}

}  // namespace

TEST_CASE("a buffer that has become non-finite is named; a mask of infinities is not", "[hooks][state]") {
  MaskedNet net;
  torch::optim::SGD optimizer(net->parameters(), 0.01);
  const Rows rows = two_steps(optimizer, net, [&] { net->norm->running_var[1] = NAN; });
  CHECK(rows.rows[0].at(Quantity::kBuffersNonfinite) == 0);
  CHECK(rows.rows[1].at(Quantity::kBuffersNonfinite) == 1);
  CHECK(events_of(rows, "nonfinite-buffer") == Texts{"norm.running_var: count=1"});
}

TEST_CASE("moments that have become non-finite are named", "[hooks][state]") {
  nn::Sequential net(nn::Linear(4, 3));
  torch::optim::Adam optimizer(net->parameters(), torch::optim::AdamOptions(0.01));
  const Rows rows = two_steps(optimizer, net, [&] {
    // The last gradient was not finite, and somebody mended the weights.
    torch::Tensor weight = net->parameters()[0];
    const torch::Tensor kept = weight.detach().clone();
    weight.mutable_grad().fill_(0)[0][1] = NAN;
    optimizer.step();
    const torch::NoGradGuard no_grad;
    weight.copy_(kept);
  });
  CHECK(std::isnan(rows.rows[0].at(Quantity::kOptimizerStateNonfinite)));  // There is none yet.
  CHECK(rows.rows[1].at(Quantity::kOptimizerStateNonfinite) == 2);
  CHECK(events_of(rows, "nonfinite-optimizer-state") == Texts{"0.weight: moment=exp_avg count=1"});
}

TEST_CASE("the state of every optimizer is found", "[hooks][state]") {
  nn::Sequential net(nn::Linear(4, 3));
  const auto state_at_second_step = [&](auto&& optimizer) {
    return two_steps(optimizer, net, [] {}).rows[1].at(Quantity::kOptimizerStateNonfinite);
  };
  CHECK(state_at_second_step(torch::optim::SGD(net->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9))) == 0);
  CHECK(state_at_second_step(torch::optim::AdamW(net->parameters())) == 0);
  CHECK(state_at_second_step(torch::optim::RMSprop(net->parameters())) == 0);
  CHECK(state_at_second_step(torch::optim::Adagrad(net->parameters())) == 0);
  CHECK(std::isnan(state_at_second_step(torch::optim::SGD(net->parameters(), 0.1))));
}

TEST_CASE("parameters that the optimizer does not hold are named, but no frozen ones", "[hooks][state]") {
  nn::Sequential net(nn::Linear(4, 3), nn::Linear(3, 2), nn::Linear(2, 2));
  for (torch::Tensor& parameter : net[0]->parameters()) parameter.requires_grad_(false);
  torch::Tensor foreign = torch::zeros({5, 7}, torch::requires_grad());
  std::vector<torch::Tensor> held = net[2]->parameters();
  held.push_back(foreign);
  torch::optim::SGD optimizer(held, 0.01);
  const Rows rows = two_steps(optimizer, net, [] {});
  CHECK(events_of(rows, "parameter-not-optimized") == Texts{"1.weight: shape=2x3", "1.bias: shape=2"});
  CHECK(events_of(rows, "optimizer-holds-stranger") == Texts{": shape=5x7"});
}

TEST_CASE("an optimizer of all parameters holds nothing else", "[hooks][state]") {
  nn::Sequential net(nn::Linear(4, 3));
  torch::optim::SGD optimizer(net->parameters(), 0.01);
  const Rows rows = two_steps(optimizer, net, [] {});
  CHECK(events_of(rows, "parameter-not-optimized").empty());
  CHECK(events_of(rows, "optimizer-holds-stranger").empty());
}

TEST_CASE("the run knows the optimizer's constants and the declared kind of loss", "[hooks][state]") {
  TemporaryDirectory directory;
  nn::Sequential net(nn::Linear(4, 3));
  const auto info_with = [&](torch::optim::Optimizer& optimizer, LossKind kind) {
    MonitorOptions options = every_step();
    options.loss_kind = kind;
    options.if_exists = IfExists::kNextName;
    Monitor monitor(*net, optimizer, directory / "run.h5", options);
    const std::filesystem::path path = monitor.status().path;
    const torch::Tensor loss = net->forward(torch::randn({7, 4})).square().mean();
    loss.backward();
    monitor.step(loss);
    monitor.close();
    return Rows(path).run.info;
  };
  torch::optim::Adam adam(net->parameters(), torch::optim::AdamOptions(0.01).betas({0.8, 0.95}).eps(1e-5));
  const RunInfo of_adam = info_with(adam, LossKind::kAdversarial);
  CHECK(of_adam.beta2 == 0.95);
  CHECK(of_adam.epsilon == 1e-5);
  CHECK(of_adam.loss_kind == "adversarial");
  torch::optim::RMSprop rmsprop(net->parameters(), torch::optim::RMSpropOptions(0.01).alpha(0.9).eps(1e-6));
  const RunInfo of_rmsprop = info_with(rmsprop, LossKind::kDensity);
  CHECK(of_rmsprop.beta2 == 0.9);
  CHECK(of_rmsprop.epsilon == 1e-6);
  CHECK(of_rmsprop.loss_kind == "density");
  torch::optim::SGD sgd(net->parameters(), 0.1);
  const RunInfo of_sgd = info_with(sgd, LossKind::kUnknown);
  CHECK_FALSE(of_sgd.beta2.has_value());
  CHECK_FALSE(of_sgd.epsilon.has_value());
  CHECK(of_sgd.loss_kind.empty());
}
