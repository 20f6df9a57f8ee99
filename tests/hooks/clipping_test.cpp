// Clipping: by the monitor, and by the trainer before and after step().
#include <cmath>
#include <cstdlib>
#include <limits>

#include <torch/torch.h>

#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace nn = torch::nn;

nn::Sequential net_with_gradients(double scale) {
  torch::manual_seed(31);
  nn::Sequential net(nn::Linear(6, 8), nn::Tanh(), nn::Linear(8, 3));
  (net->forward(torch::randn({10, 6})).pow(2).sum() * scale).backward();
  return net;
}

void check_same_gradients(nn::Sequential& a, nn::Sequential& b) {
  for (std::size_t i = 0; i < a->parameters().size(); ++i) {
    const torch::Tensor left = a->parameters()[i].grad();
    const torch::Tensor right = b->parameters()[i].grad();
    CHECK((left.defined() == right.defined()));
    if (left.defined() && right.defined()) CHECK(torch::allclose(left, right, 0, 0, /*equal_nan=*/true));
  }
}

double global_norm(nn::Sequential& net) {
  double squares = 0;
  for (const torch::Tensor& p : net->parameters())
    if (p.grad().defined()) squares += std::pow(p.grad().to(torch::kFloat64).norm().item<double>(), 2);
  return std::sqrt(squares);
}

/// Whether a step is recorded or not, clipping is the training's own.
enum class Recording { kOn, kUnrecordedStep, kClosed, kOff };

}  // namespace

TEST_CASE("clip_grad_norm clips as LibTorch does, to the bit, recorded or not", "[hooks]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Recording recording : {Recording::kOn, Recording::kUnrecordedStep, Recording::kClosed, Recording::kOff}) {
    for (const double scale : {1.0, 1e-9, 1e30, nan}) {
      TemporaryDirectory directory;
      nn::Sequential reference = net_with_gradients(scale);
      nn::Sequential net = net_with_gradients(scale);
      net[2]->as<nn::Linear>()->bias.mutable_grad().reset();
      reference[2]->as<nn::Linear>()->bias.mutable_grad().reset();
      MonitorOptions options = every_step();
      if (recording == Recording::kUnrecordedStep) options.every = 5;
      if (recording == Recording::kOff) ::setenv("GRADHEALTH", "off", 1);
      Monitor monitor(*net, directory / "run.h5", options);
      ::unsetenv("GRADHEALTH");
      if (recording == Recording::kUnrecordedStep) monitor.step(torch::zeros({}));
      if (recording == Recording::kClosed) monitor.close();
      const double expected = nn::utils::clip_grad_norm_(reference->parameters(), 0.7);
      const double norm = monitor.clip_grad_norm(0.7);
      CHECK((norm == expected || (std::isnan(norm) && std::isnan(expected))));
      check_same_gradients(net, reference);
      CHECK(monitor.status().error.empty());
    }
  }
}

TEST_CASE("clip_grad_norm records the norms before, the threshold and the factor", "[hooks]") {
  for (const StepMode mode : {StepMode::kExplicit, StepMode::kAutomatic}) {
    TemporaryDirectory directory;
    torch::manual_seed(32);
    nn::Sequential net(nn::Linear(6, 8), nn::Tanh(), nn::Linear(8, 3));
    torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.1));
    MonitorOptions options = every_step();
    options.step = mode;
    Monitor monitor(*net, optimizer, directory / "run.h5", options);
    std::vector<double> norms, returned;
    for (const double threshold : {0.5, 1e6}) {
      optimizer.zero_grad();
      const torch::Tensor loss = net->forward(torch::randn({10, 6})).pow(2).sum();
      loss.backward();
      norms.push_back(global_norm(net));
      returned.push_back(monitor.clip_grad_norm(threshold));
      if (mode == StepMode::kExplicit) monitor.step(loss);
      optimizer.step();
    }
    monitor.close();
    const Rows run(directory / "run.h5");
    REQUIRE(run.rows.size() == 2);
    for (std::size_t row = 0; row < 2; ++row) {
      CHECK(std::fabs(run.rows[row].at(Quantity::kGlobalGradientNorm) / norms[row] - 1) < 1e-5);
      CHECK(std::fabs(returned[row] / norms[row] - 1) < 1e-5);
      CHECK(run.rows[row].at(Quantity::kGradientStage) == 0);
    }
    CHECK(run.rows[0].at(Quantity::kClipThreshold) == 0.5);
    CHECK(std::fabs(run.rows[0].at(Quantity::kClipFactor) / (0.5 / norms[0]) - 1) < 1e-5);
    CHECK(run.rows[1].at(Quantity::kClipFactor) == 1);
  }
}

TEST_CASE("norms carry their stage when the trainer clips before or after step()", "[hooks]") {
  TemporaryDirectory directory;
  torch::manual_seed(33);
  nn::Sequential net(nn::Linear(6, 8), nn::Tanh(), nn::Linear(8, 3));
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.1));
  Monitor monitor(*net, optimizer, directory / "run.h5", every_step());
  enum class Order { kBefore, kAfter, kReplaced, kMonitorAfter, kNever };
  std::vector<double> found;
  for (const Order order : {Order::kBefore, Order::kAfter, Order::kReplaced, Order::kMonitorAfter, Order::kNever}) {
    optimizer.zero_grad();
    const torch::Tensor loss = net->forward(torch::randn({10, 6})).pow(2).sum();
    loss.backward();
    if (order == Order::kBefore) nn::utils::clip_grad_norm_(net->parameters(), 0.5);
    if (order == Order::kReplaced) net[0]->as<nn::Linear>()->weight.mutable_grad() = torch::ones({8, 6});
    found.push_back(global_norm(net));
    monitor.step(loss);
    if (order == Order::kAfter) nn::utils::clip_grad_norm_(net->parameters(), 0.5);
    if (order == Order::kMonitorAfter) monitor.clip_grad_norm(0.5);
    optimizer.step();
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  std::vector<double> stages;
  for (std::size_t row = 0; row < run.rows.size(); ++row) {
    stages.push_back(run.rows[row].at(Quantity::kGradientStage));
    CHECK(std::fabs(run.rows[row].at(Quantity::kGlobalGradientNorm) / found[row] - 1) < 1e-5);
    CHECK(std::isnan(run.rows[row].at(Quantity::kClipFactor)));
    CHECK(run.at(row, Quantity::kUpdateRatio, "0.weight") > 0);
  }
  CHECK(stages == std::vector<double>{1, 0, 1, 0, 0});
}

TEST_CASE("without a backward pass the stage is missing, not zero", "[hooks]") {
  TemporaryDirectory directory;
  nn::Sequential net(nn::Linear(6, 3));
  Monitor monitor(*net, directory / "run.h5", every_step());
  monitor.step(torch::ones({}));
  monitor.close();
  const Rows run(directory / "run.h5");
  REQUIRE(run.rows.size() == 1);
  CHECK(run.rows[0].at(Quantity::kLoss) == 1);
  CHECK(std::isnan(run.rows[0].at(Quantity::kGradientStage)));
  CHECK(std::isnan(run.rows[0].at(Quantity::kGlobalGradientNorm)));
  CHECK(std::isnan(run.at(0, Quantity::kGradientNorm, "0.weight")));
}
