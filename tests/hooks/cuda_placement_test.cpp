// Streams, and models that are on several devices or move between them.
#include <cmath>

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/torch.h>

#include "hooks/cuda.h"
#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Monitor;
using gradhealth::Quantity;

namespace {

/// A model of two layers, each on its own device.
void check_split(const torch::Device& front, const torch::Device& back) {
  TemporaryDirectory directory;
  torch::nn::Sequential net(torch::nn::Linear(5, 6), torch::nn::Linear(6, 2));
  net[0]->to(front);
  net[1]->to(back);
  Monitor monitor(*net, directory / "run.h5", every_step());
  const torch::Tensor hidden = net[0]->as<torch::nn::Linear>()->forward(torch::randn({8, 5}, front));
  const torch::Tensor loss = net[1]->as<torch::nn::Linear>()->forward(hidden.to(back)).pow(2).mean();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  REQUIRE(monitor.status().error.empty());
  const Rows run(directory / "run.h5");
  double squares = 0;
  for (const torch::Tensor& parameter : net->parameters()) squares += std::pow(norm_of(parameter.grad()), 2);
  CHECK(close(run.rows[0].at(Quantity::kGlobalGradientNorm), std::sqrt(squares)));
  CHECK(run.at(0, Quantity::kActivationGradientNorm, "0") > 0);
  CHECK(run.at(0, Quantity::kActivationGradientNorm, "1") > 0);
}

}  // namespace

TEST_CASE("a model computed on a stream of its own is recorded right", "[cuda]") {
  if (without_devices()) return;
  TemporaryDirectory directory;
  torch::nn::Sequential net = mlp();
  net->to(kGpu);
  const torch::Tensor input = torch::randn({32, 20}, kGpu);
  Monitor monitor(*net, directory / "run.h5", every_step());
  torch::cuda::synchronize();
  torch::Tensor loss;
  {
    const c10::StreamGuard side(c10::impl::VirtualGuardImpl(torch::kCUDA).getStreamFromGlobalPool(kGpu));
    keep_busy();
    loss = net->forward(input).pow(2).mean();
    loss.backward();
  }
  torch::cuda::synchronize();
  monitor.step(loss);
  monitor.close();
  REQUIRE(monitor.status().error.empty());
  const Rows run(directory / "run.h5");
  CHECK(close(run.at(0, Quantity::kActivationRms, "0"),
              norm_of(net[0]->as<torch::nn::Linear>()->forward(input)) / std::sqrt(32.0 * 64)));
  CHECK(close(run.at(0, Quantity::kGradientNorm, "0.weight"), norm_of(net->parameters()[0].grad())));
}

TEST_CASE("a model that moves to a device after attaching is recorded there", "[cuda]") {
  if (without_devices()) return;
  TemporaryDirectory directory;
  torch::nn::Sequential net = mlp();
  Monitor monitor(*net, directory / "run.h5", every_step());
  for (const torch::Device& device : {torch::Device(torch::kCPU), kGpu, kGpu}) {
    net->to(device);
    net->zero_grad();
    const torch::Tensor loss = net->forward(torch::ones({4, 20}, device)).pow(2).mean();
    loss.backward();
    monitor.step(loss);
  }
  monitor.close();
  REQUIRE(monitor.status().error.empty());
  const Rows run(directory / "run.h5");
  REQUIRE(run.rows.size() == 3);
  for (std::size_t row = 0; row < 3; ++row) {
    CHECK(
        close(run.at(row, Quantity::kGradientNorm, "4.weight"), run.at(2, Quantity::kGradientNorm, "4.weight"), 1e-3));
    // The step after the move was prepared before it: its activations may be missing.
    if (row != 1) CHECK(run.at(row, Quantity::kActivationGradientNorm, "2") > 0);
  }
}

TEST_CASE("a model that is split over the CPU and a device is recorded whole", "[cuda]") {
  if (without_devices()) return;
  check_split(torch::kCPU, kGpu);
}

TEST_CASE("a model that is split over two devices is recorded whole", "[cuda]") {
  if (without_devices(2)) return;
  check_split(kGpu, torch::Device(torch::kCUDA, 1));
}
