// On a real device. Where there is none, every test here says so, and CTest lists it as not run.
#include <dlfcn.h>

#include <cmath>
#include <cstdio>
#include <optional>

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/torch.h>

#include "hooks/cuda.h"
#include "hooks/models.h"
#include "hooks/statistics/device_sums.h"
#include "hooks/statistics/reading.h"
#include "hooks/statistics/tensor_sums.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Axis;
using gradhealth::Monitor;
using gradhealth::MonitorOptions;
using gradhealth::Quantity;

namespace {

struct Trained {
  std::vector<torch::Tensor> state;
  std::vector<double> gradient_norms;  ///< Global, by step.
};

/// Dropout, batch normalisation and clipping on the device.
Trained train(const std::filesystem::path* path) {
  at::globalContext().setDeterministicCuDNN(true);
  at::globalContext().setBenchmarkCuDNN(false);
  torch::manual_seed(51);
  ConvNet net;
  net->dropout = 0.3;
  net->to(kGpu);
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
  std::optional<Monitor> monitor;
  if (path) monitor.emplace(*net, optimizer, *path, every_step());
  Trained trained;
  for (int step = 0; step < 50; ++step) {
    optimizer.zero_grad();
    const torch::Tensor input = torch::randn({16, 1, 8, 8}, kGpu);
    const torch::Tensor loss = torch::cross_entropy_loss(
        net->forward(input), torch::randint(3, {16}, torch::device(kGpu).dtype(torch::kInt64)));
    loss.backward();
    double squares = 0;
    for (const torch::Tensor& parameter : net->parameters()) squares += std::pow(norm_of(parameter.grad()), 2);
    trained.gradient_norms.push_back(std::sqrt(squares));
    if (monitor) monitor->step(loss);
    torch::nn::utils::clip_grad_norm_(net->parameters(), 0.5);
    optimizer.step();
  }
  if (monitor) {
    monitor->close();
    CHECK(monitor->status().error.empty());
  }
  trained.state = net->parameters();
  for (const torch::Tensor& buffer : net->buffers()) trained.state.push_back(buffer);
  trained.state.push_back(torch::randn({4}, kGpu));
  return trained;
}

/// Bytes free on the device; 0 if the CUDA runtime cannot be asked.
std::size_t free_memory() {
  using MemGetInfo = int (*)(std::size_t*, std::size_t*);
  const auto ask = reinterpret_cast<MemGetInfo>(::dlsym(RTLD_DEFAULT, "cudaMemGetInfo"));
  std::size_t free = 0;
  std::size_t total = 0;
  return ask && ask(&free, &total) == 0 ? free : 0;
}

}  // namespace

TEST_CASE("the device's sums equal the CPU's", "[cuda]") {
  if (without_devices()) return;
  using namespace gradhealth::hooks;
  torch::manual_seed(52);
  for (const torch::ScalarType type : {torch::kFloat32, torch::kFloat64, torch::kFloat16, torch::kBFloat16}) {
    for (torch::Tensor tensor : {torch::randn({64, 30}), torch::randn({8, 6, 5, 5}), torch::randn({3'000'000}),
                                 torch::full({100}, 1e-30), torch::zeros({7})}) {
      tensor = tensor.to(type);
      tensor.view({-1})[1] = std::numeric_limits<double>::infinity();
      tensor.view({-1})[2] = std::nan("");
      tensor.view({-1})[3] = 0;
      for (const torch::Tensor& part : {tensor, tensor.view({-1}).slice(0, 3)}) {
        CAPTURE(type, part.sizes());
        const torch::Tensor there = part.to(kGpu);
        REQUIRE(reading_of(there) == Reading::kLater);
        Readback readback;
        ActivationSums sums = late_activation_sums(there, Units::kChannels, readback);
        InputSums input = late_input_sums(there, Units::kChannels, "op", readback);
        readback.start();
        readback.wait();
        complete(sums, readback);
        complete(input, readback);
        const ActivationSums reference = activation_sums(part, Units::kChannels);
        CHECK(sums.elements.zeros == reference.elements.zeros);
        CHECK(sums.elements.nonfinite == reference.elements.nonfinite);
        CHECK(sums.elements.max_abs == reference.elements.max_abs);
        CHECK(sums.active == reference.active);
        CHECK(sums.samples == reference.samples);
        if (std::isfinite(reference.elements.norm()))
          CHECK(close(sums.elements.norm(), reference.elements.norm(), 1e-10));
        else
          CHECK(std::isnan(sums.elements.norm()) == std::isnan(reference.elements.norm()));
        const InputSums input_reference = input_sums(part, Units::kChannels, "op");
        CHECK(input.bad_sample == input_reference.bad_sample);
        CHECK(input.bad_feature == input_reference.bad_feature);
        CHECK(input.features.min == input_reference.features.min);
        CHECK(input.features.max == input_reference.features.max);
        CHECK(input.features.integers == input_reference.features.integers);
      }
    }
  }
}

TEST_CASE("norms recorded on a device equal autograd's", "[cuda]") {
  if (without_devices()) return;
  torch::manual_seed(53);
  TemporaryDirectory directory;
  torch::nn::Sequential net = mlp();
  net->to(kGpu);
  const torch::Tensor input = torch::randn({32, 20}, kGpu);
  Monitor monitor(*net, directory / "run.h5", every_step());
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.1));
  const torch::Tensor loss = net->forward(input).pow(2).mean();
  loss.backward();
  monitor.step(loss);

  torch::Tensor x = input;
  std::vector<torch::Tensor> activations;
  for (const torch::nn::AnyModule& module : *net) activations.push_back(x = torch::nn::AnyModule(module).forward(x));
  const auto at_activations = torch::autograd::grad({x.pow(2).mean()}, activations);
  std::vector<double> weights;
  std::vector<torch::Tensor> before;
  for (const torch::Tensor& parameter : net->parameters()) {
    weights.push_back(norm_of(parameter));
    before.push_back(parameter.detach().clone());
  }
  optimizer.step();
  monitor.step(loss);
  monitor.close();
  REQUIRE(monitor.status().error.empty());

  const Rows run(directory / "run.h5");
  REQUIRE(run.rows.size() == 2);
  CHECK(close(run.rows[0].at(Quantity::kLoss), loss.item<double>()));
  const std::vector<std::string> names{"0", "0:relu", "2", "2:tanh", "4"};
  REQUIRE(run.names(Axis::kActivation) == names);
  for (std::size_t i = 0; i < names.size(); ++i) {
    CAPTURE(names[i]);
    CHECK(close(run.at(0, Quantity::kActivationGradientNorm, names[i]), norm_of(at_activations[i])));
    CHECK(close(run.at(0, Quantity::kActivationRms, names[i]),
                norm_of(activations[i]) / std::sqrt(static_cast<double>(activations[i].numel()))));
  }
  const std::vector<torch::Tensor> parameters = net->parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    CAPTURE(i);
    CHECK(close(run.rows[0].at(Quantity::kGradientNorm, i), norm_of(parameters[i].grad())));
    CHECK(close(run.rows[0].at(Quantity::kWeightNorm, i), weights[i]));
    // From a sample of the larger ones: 3 % standard error and what floats lose in the difference.
    CHECK(close(run.rows[0].at(Quantity::kUpdateRatio, i), norm_of(parameters[i] - before[i]) / weights[i], 0.3));
  }
}

TEST_CASE("weights on a device are bit-identical with and without the monitor", "[cuda]") {
  if (without_devices()) return;
  TemporaryDirectory directory;
  const std::filesystem::path path = directory / "run.h5";
  const Trained bare = train(nullptr);
  const Trained monitored = train(&path);
  REQUIRE(bare.state.size() == monitored.state.size());
  for (std::size_t i = 0; i < bare.state.size(); ++i) CHECK(torch::equal(bare.state[i], monitored.state[i]));
  const Rows run(path);
  REQUIRE(run.rows.size() == 50);
  for (std::size_t i = 0; i < 50; ++i)
    CHECK(close(run.rows[i].at(Quantity::kGlobalGradientNorm), monitored.gradient_norms[i]));
}

TEST_CASE("step() does not wait for the device, on recorded steps and others", "[cuda]") {
  if (without_devices()) return;
  TemporaryDirectory directory;
  torch::nn::Sequential net = mlp();
  net->to(kGpu);
  const torch::Tensor input = torch::randn({32, 20}, kGpu);
  MonitorOptions options = every_step();
  options.every = 2;
  Monitor monitor(*net, directory / "run.h5", options);
  const auto pass = [&] {
    const torch::Tensor loss = net->forward(input).pow(2).mean();
    loss.backward();
    return loss;
  };
  keep_busy();  // Libraries are loaded and memory is allocated, pinned memory as well: that waits.
  for (int i = 0; i < 8; ++i) monitor.step(pass());
  torch::cuda::synchronize();
  for (int i = 0; i < 4; ++i) {
    keep_busy();
    const torch::Tensor loss = pass();
    c10::Event passed(torch::kCUDA);
    passed.record(c10::impl::VirtualGuardImpl(torch::kCUDA).getStream(kGpu));
    REQUIRE_FALSE(passed.query());  // Otherwise the device was not kept busy, and nothing would be shown.
    monitor.step(loss);
    CHECK_FALSE(passed.query());
    torch::cuda::synchronize();
  }
  monitor.close();
  CHECK(monitor.status().error.empty());
  CHECK(monitor.status().recorded_steps == 6);
}

TEST_CASE("a sparse gradient on a device is missing, and the rest is recorded", "[cuda]") {
  if (without_devices()) return;
  TemporaryDirectory directory;
  torch::nn::Embedding embedding(torch::nn::EmbeddingOptions(100, 4).sparse(true));
  torch::nn::Sequential net(embedding, torch::nn::Linear(4, 2));
  net->to(kGpu);
  Monitor monitor(*net, directory / "run.h5", every_step());
  const torch::Tensor loss = net->forward(torch::arange(8, torch::device(kGpu).dtype(torch::kInt64))).pow(2).mean();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  REQUIRE(monitor.status().error.empty());
  const Rows run(directory / "run.h5");
  CHECK(std::isnan(run.at(0, Quantity::kGradientNorm, "0.weight")));
  CHECK(run.at(0, Quantity::kWeightNorm, "0.weight") > 0);
  CHECK(run.at(0, Quantity::kGradientNorm, "1.weight") > 0);
}

TEST_CASE("a loss on a device that stops being a number between recorded steps is recorded", "[cuda]") {
  if (without_devices()) return;
  TemporaryDirectory directory;
  torch::nn::Linear linear(3, 1);
  linear->to(kGpu);
  MonitorOptions options;
  options.messages = gradhealth::Messages::kNone;
  Monitor monitor(*linear, directory / "run.h5", options);
  for (int step = 0; step < 40; ++step) {
    linear->zero_grad();
    const torch::Tensor loss = linear->forward(torch::full({2, 3}, step == 33 ? std::nan("") : 1.0, kGpu)).sum();
    loss.backward();
    monitor.step(loss);
    torch::cuda::synchronize();
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  std::size_t bad = 0;
  for (const auto& row : run.rows)
    if (row.at(Quantity::kLossNonfinite) == 1) CHECK((row.step == 33 && ++bad));
  CHECK(bad == 1);
}

TEST_CASE("memory of the device does not grow over the steps", "[cuda]") {
  if (without_devices()) return;
  TemporaryDirectory directory;
  torch::nn::Sequential net = mlp(512);
  net->to(kGpu);
  const torch::Tensor input = torch::randn({256, 20}, kGpu);
  Monitor monitor(*net, directory / "run.h5", every_step());
  const auto steps = [&](int count) {
    for (int i = 0; i < count; ++i) {
      net->zero_grad();
      const torch::Tensor loss = net->forward(input).pow(2).mean();
      loss.backward();
      monitor.step(loss);
    }
    torch::cuda::synchronize();
    return free_memory();
  };
  const std::size_t early = steps(100);
  if (early == 0) {
    std::printf("not run: the CUDA runtime cannot be asked for its free memory\n");
    return;
  }
  const std::size_t late = steps(2000);
  CHECK(late + (std::size_t{8} << 20) >= early);
  monitor.close();
  CHECK(monitor.status().error.empty());
}
