// What an update does to the weights, and what it was made of, against plain tensor arithmetic.
#include <cmath>
#include <functional>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/recorded_loop.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace nn = torch::nn;

auto near(double value) { return Catch::Matchers::WithinAbs(value, 1e-5); }

torch::Tensor flat(const std::vector<torch::Tensor>& tensors) {
  std::vector<torch::Tensor> parts;
  for (const torch::Tensor& tensor : tensors) parts.push_back(tensor.detach().reshape(-1).to(torch::kFloat64));
  return torch::cat(parts);
}

torch::Tensor gradients(nn::Sequential& net) {
  std::vector<torch::Tensor> all;
  for (const torch::Tensor& parameter : net->parameters()) all.push_back(parameter.grad().clone());
  return flat(all);
}

double cosine(const torch::Tensor& a, const torch::Tensor& b) {
  return (a.dot(b) / a.norm() / b.norm()).item<double>();
}

nn::Sequential small_net() {
  torch::manual_seed(5);
  return nn::Sequential(nn::Linear(6, 10), nn::Tanh(), nn::Linear(10, 3));
}

/// Steps whose gradients are seen after backward and whose update may be anything.
Rows train(nn::Sequential& net, int steps, const std::function<void(Monitor&, int)>& after_backward,
           const std::function<void(int)>& update, const std::function<void(int)>& clear) {
  TemporaryDirectory directory;
  Monitor monitor(*net, directory / "run.h5", every_step());
  for (int step = 0; step < steps; ++step) {
    clear(step);
    const torch::Tensor loss = net->forward(torch::randn({7, 6})).square().mean();
    loss.backward();
    after_backward(monitor, step);
    monitor.step(loss);
    update(step);
  }
  monitor.close();
  REQUIRE(monitor.status().error.empty());
  return Rows(directory / "run.h5");
}

}  // namespace

TEST_CASE("the update's angle with its gradient, and the gradient's with the one before", "[hooks][updates]") {
  nn::Sequential net = small_net();
  torch::optim::Adam optimizer(net->parameters(), torch::optim::AdamOptions(0.01));
  std::vector<torch::Tensor> gradient;
  std::vector<torch::Tensor> update;
  const Rows rows = train(
      net, 4, [&](Monitor&, int) { gradient.push_back(gradients(net)); },
      [&](int) {
        const torch::Tensor before = flat(net->parameters());
        optimizer.step();
        update.push_back(flat(net->parameters()) - before);
      },
      [&](int) { optimizer.zero_grad(); });
  CHECK(std::isnan(rows.rows[0].at(Quantity::kGradientAlignment)));
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK_THAT(rows.rows[i].at(Quantity::kUpdateGradientCosine), near(cosine(update[i], -gradient[i])));
    if (i > 0) CHECK_THAT(rows.rows[i].at(Quantity::kGradientAlignment), near(cosine(gradient[i], gradient[i - 1])));
  }
}

TEST_CASE("an ascending update has a cosine of minus one", "[hooks][updates]") {
  nn::Sequential net = small_net();
  const Rows rows = train(
      net, 2, [](Monitor&, int) {},
      [&](int) {
        const torch::NoGradGuard no_grad;
        for (torch::Tensor& parameter : net->parameters()) parameter.add_(parameter.grad(), 0.1);
      },
      [&](int) { net->zero_grad(); });
  CHECK_THAT(rows.rows[0].at(Quantity::kUpdateGradientCosine), near(-1));
}

TEST_CASE("elements that an update leaves as they are, although they have a gradient, are counted",
          "[hooks][updates]") {
  nn::Sequential net = small_net();
  const Rows rows = train(
      net, 1, [](Monitor&, int) {},
      [&](int) {
        const torch::NoGradGuard no_grad;
        torch::Tensor weight = net->named_parameters()["0.weight"];
        weight.flatten().slice(0, 0, 15).sub_(1);  // Of 60.
        net->named_parameters()["2.bias"].sub_(1e-12);
        net->named_parameters()["2.weight"].sub_(1);
      },
      [&](int) { net->zero_grad(); });
  CHECK(rows.at(0, Quantity::kUnchangedFraction, "0.weight") == 0.75);
  CHECK(rows.at(0, Quantity::kUnchangedFraction, "2.bias") == 1);  // Lost to rounding.
  CHECK(rows.at(0, Quantity::kUnchangedFraction, "2.weight") == 0);
}

TEST_CASE("elements without a gradient may stay as they are", "[hooks][updates]") {
  nn::Sequential net(nn::Embedding(9, 2));
  torch::optim::SGD optimizer(net->parameters(), 0.5);
  TemporaryDirectory directory;
  Monitor monitor(*net, optimizer, directory / "run.h5", every_step());
  const torch::Tensor loss = net->forward(torch::tensor({1, 2, 2}, torch::kLong)).square().sum();
  loss.backward();
  monitor.step(loss);
  optimizer.step();
  monitor.close();
  CHECK(Rows(directory / "run.h5").at(0, Quantity::kUnchangedFraction, "0.weight") == 0);
}

TEST_CASE("rows that are all the same have no spread", "[hooks][updates]") {
  nn::Sequential net = small_net();
  {
    const torch::NoGradGuard no_grad;
    torch::Tensor weight = net->named_parameters()["0.weight"];
    weight.copy_(weight[0].clone().expand_as(weight));
  }
  const torch::Tensor w = net->named_parameters()["2.weight"].detach().to(torch::kFloat64).clone();
  const Rows rows = record_steps(*net, 1, [&](int) { return net->forward(torch::ones({2, 6})).square().mean(); });
  CHECK(rows.at(0, Quantity::kRowSpread, "0.weight") == 0);
  const double expected = ((w - w.mean(0, true)).square().mean() / w.square().mean()).sqrt().item<double>();
  CHECK_THAT(rows.at(0, Quantity::kRowSpread, "2.weight"), near(expected));
  CHECK(std::isnan(rows.at(0, Quantity::kRowSpread, "2.bias")));
}

TEST_CASE("gradients that nobody cleared are carried into the next step", "[hooks][updates]") {
  nn::Sequential net = small_net();
  torch::optim::SGD optimizer(net->parameters(), 0.01);
  // Cleared before step 1, forgotten before steps 2 and 3, in part before step 4.
  const Rows rows = train(
      net, 5, [](Monitor&, int) {}, [&](int) { optimizer.step(); },
      [&](int step) {
        if (step == 1) optimizer.zero_grad();
        if (step == 4) net->named_parameters()["0.weight"].mutable_grad().zero_();
      });
  const std::vector<double> expected{0, 0, 1, 1, 0.75};
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(rows.rows[i].at(Quantity::kCarriedGradients) == expected[i]);
}

TEST_CASE("micro-batches of one step carry nothing", "[hooks][updates]") {
  nn::Sequential net = small_net();
  torch::optim::SGD optimizer(net->parameters(), 0.01);
  const Rows rows = train(
      net, 3,
      [&](Monitor&, int) {
        net->forward(torch::randn({7, 6})).square().mean().backward();
      },
      [&](int) { optimizer.step(); }, [&](int) { optimizer.zero_grad(); });
  for (const StepRecord& row : rows.rows) CHECK(row.at(Quantity::kCarriedGradients) == 0);
}

TEST_CASE("what another model's pass has left in the gradients is carried by nobody who clears it",
          "[hooks][updates]") {
  TemporaryDirectory directory;
  nn::Sequential generator(nn::Linear(4, 6));
  nn::Sequential critic = small_net();
  torch::optim::SGD g_optimizer(generator->parameters(), 0.01);
  torch::optim::SGD d_optimizer(critic->parameters(), 0.01);
  Monitor g(*generator, g_optimizer, directory / "g.h5", every_step());
  Monitor d(*critic, d_optimizer, directory / "d.h5", every_step());
  for (int step = 0; step < 4; ++step) {
    d_optimizer.zero_grad();
    const torch::Tensor d_loss = critic->forward(generator->forward(torch::randn({5, 4})).detach()).square().mean();
    d_loss.backward();
    d.step(d_loss);
    d_optimizer.step();
    g_optimizer.zero_grad();
    const torch::Tensor g_loss = critic->forward(generator->forward(torch::randn({5, 4}))).square().mean();
    g_loss.backward();
    g.step(g_loss);
    g_optimizer.step();
  }
  g.close();
  d.close();
  for (const char* file : {"g.h5", "d.h5"})
    for (const StepRecord& row : Rows(directory / file).rows) CHECK(row.at(Quantity::kCarriedGradients) == 0);
}
