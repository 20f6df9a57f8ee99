#include <cmath>
#include <functional>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Monitor;
using gradhealth::MonitorOptions;
using gradhealth::Quantity;
using torch::Tensor;

namespace {

/// Linear layers with ReLU between them, initialised by LibTorch's default or by He's rule.
torch::nn::Sequential relu_net(std::int64_t hidden_layers, std::int64_t width, bool he) {
  torch::nn::Sequential net;
  std::int64_t inputs = 20;
  for (std::int64_t i = 0; i <= hidden_layers; ++i) {
    torch::nn::Linear linear(inputs, i == hidden_layers ? 10 : width);
    if (he) torch::nn::init::kaiming_normal_(linear->weight, 0, torch::kFanIn, torch::kReLU);
    net->push_back(linear);
    if (i < hidden_layers) net->push_back(torch::nn::ReLU());
    inputs = width;
  }
  return net;
}

/// A model's z-scores at step 0, then after its weights have been multiplied by `factor`.
std::vector<std::vector<double>> z_scores(torch::nn::Module& module, const std::function<Tensor()>& forward,
                                          double factor) {
  TemporaryDirectory directory;
  MonitorOptions options = every_step();
  options.probe_every = 1;
  Monitor monitor(module, directory / "run.h5", options);
  for (int step = 0; step < 2; ++step) {
    const Tensor loss = forward().square().mean();
    monitor.backward(loss);
    monitor.step(loss);
    const torch::NoGradGuard no_grad;
    for (Tensor& parameter : module.parameters()) parameter.mul_(factor);
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  std::vector<std::vector<double>> steps(2);
  for (std::size_t step = 0; step < 2; ++step)
    for (const double z : run.rows.at(step).values(Quantity::kJacobianZScore))
      if (!std::isnan(z)) steps[step].push_back(z);
  return steps;
}
}  // namespace

TEST_CASE("z-scores of freshly initialised ReLU networks are small, by default and by He's rule", "[hooks][probe]") {
  int all = 0, large = 0;
  double largest = 0;
  for (const std::int64_t hidden : {2, 3, 5, 10, 20}) {
    for (const std::int64_t width : {16, 64}) {
      for (const bool he : {true, false}) {
        for (std::uint64_t seed = 1; seed <= 4; ++seed) {
          torch::manual_seed(100 * seed + static_cast<std::uint64_t>(hidden + width));
          torch::nn::Sequential net = relu_net(hidden, width, he);
          const Tensor x = torch::randn({32, 20});
          const std::vector<double> fresh = z_scores(
              *net, [&] { return net->forward(x); }, 1)[0];
          for (const double z : fresh) {
            ++all;
            large += std::fabs(z) > 3;
            largest = std::max(largest, std::fabs(z));
          }
        }
      }
    }
  }
  CAPTURE(all, large, largest);
  CHECK(all == 2 * 2 * 4 * 2 * (2 + 3 + 5 + 10 + 20));
  CHECK(large <= all / 50);
  CHECK(largest < 5);
}

TEST_CASE("the z-score shows weights that have grown since, in proportion to the depth", "[hooks][probe]") {
  torch::manual_seed(28);
  torch::nn::Sequential net = relu_net(8, 128, true);
  const Tensor x = torch::randn({32, 20});
  const auto steps = z_scores(
      *net, [&] { return net->forward(x); }, 1.5);
  REQUIRE(steps[1].size() == 16);
  // From the first layer's output, 8 layers have each gained a factor of 1.5; biases shift the masks a little.
  const double beta = 8.0 / 128;
  const double grown = 8 * 2 * std::log(1.5) / std::sqrt(5 * beta);
  CHECK(std::fabs(steps[1][0] - steps[0][0] - grown) < 0.5);
}

TEST_CASE("only plain ReLU networks have a z-score", "[hooks][probe]") {
  torch::manual_seed(29);
  const auto count = [](torch::nn::Module& module, const std::function<Tensor()>& forward) {
    return z_scores(module, forward, 1)[0].size();
  };
  using torch::nn::Linear;
  const Tensor x = torch::randn({8, 6});
  Linear a(6, 6), b(6, 6), c(6, 2);
  torch::nn::Sequential layers(a, b, c);
  CHECK(count(*layers, [&] { return c(torch::relu(b(torch::relu(a(x))))); }) == 4);
  CHECK(count(*layers, [&] { return c(torch::relu(b(torch::relu(a(x.view({2, 4, 6})))))); }) == 4);
  CHECK(count(*layers, [&] { return c(torch::relu(b(torch::relu(a(x))) + a(x))); }) == 0);
  CHECK(count(*layers, [&] { return c(torch::relu(a(x) + b(x))); }) == 0);
  CHECK(count(*layers, [&] { return c(torch::relu(b(torch::tanh(a(x))))); }) == 0);
  CHECK(count(*layers, [&] { return c(torch::relu(b(2 * torch::relu(a(x))))); }) == 0);
  CHECK(count(*layers, [&] { return c(b(torch::relu(a(x)))); }) == 0);
  CHECK(count(*layers, [&] { return c(torch::relu(b(torch::dropout(torch::relu(a(x)), 0.5, true)))); }) == 0);
  torch::nn::Sequential normalised(Linear(6, 6), torch::nn::BatchNorm1d(6), torch::nn::ReLU(), Linear(6, 2));
  CHECK(count(*normalised, [&] { return normalised->forward(x); }) == 0);
}
