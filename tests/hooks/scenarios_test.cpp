// Real trainings, small and deterministic: healthy ones that must stay quiet, broken ones whose cause must be named.
#include <cmath>
#include <functional>
#include <string>

#include <torch/torch.h>

#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace nn = torch::nn;
using Batch = std::pair<torch::Tensor, torch::Tensor>;
using Loss = std::function<torch::Tensor(const torch::Tensor&, const torch::Tensor&)>;

struct Scenario {
  std::string name;
  std::function<nn::Sequential()> net;
  std::function<Batch()> batch;
  std::function<std::unique_ptr<torch::optim::Optimizer>(nn::Sequential&)> optimizer;
  Loss loss = [](const torch::Tensor& y, const torch::Tensor& t) { return torch::cross_entropy_loss(y, t); };
  int steps = 300;
};

/// Gaussian blobs of 20 features in 4 classes, standardised.
Batch blobs() {
  const torch::Tensor target = torch::randint(4, {64});
  const torch::Tensor centres = torch::sin(torch::arange(80, torch::kFloat32)).view({4, 20}) * 1.2;
  return {centres.index_select(0, target) + 0.7 * torch::randn({64, 20}), target};
}

Batch small_images() {
  const torch::Tensor target = torch::randint(4, {32});
  torch::Tensor x = torch::rand({32, 1, 12, 12}) * 0.3;
  for (std::int64_t i = 0; i < 32; ++i) {
    const std::int64_t corner = target[i].item<std::int64_t>();
    x[i][0].slice(0, corner / 2 * 6, corner / 2 * 6 + 6).slice(1, corner % 2 * 6, corner % 2 * 6 + 6) += 0.6;
  }
  return {x, target};
}

Batch raw_images() {
  auto [x, target] = small_images();
  return {(x * 255).floor().clamp(0, 255), target};
}

Batch regression() {
  const torch::Tensor x = torch::randn({64, 8});
  return {x, x.select(1, 0).unsqueeze(1) * 2 - x.select(1, 3).unsqueeze(1) + 0.1 * torch::randn({64, 1})};
}

nn::Sequential mlp(int hidden, std::int64_t width, std::int64_t in = 20, std::int64_t out = 4) {
  nn::Sequential net;
  for (int i = 0; i < hidden; ++i) {
    net->push_back(nn::Linear(i == 0 ? in : width, width));
    net->push_back(nn::ReLU());
  }
  net->push_back(nn::Linear(width, out));
  return net;
}

nn::Sequential cnn() {
  return nn::Sequential(nn::Conv2d(nn::Conv2dOptions(1, 8, 3).padding(1)), nn::ReLU(), nn::MaxPool2d(2),
                        nn::Conv2d(nn::Conv2dOptions(8, 16, 3).padding(1)), nn::ReLU(), nn::MaxPool2d(2), nn::Flatten(),
                        nn::Linear(144, 32), nn::ReLU(), nn::Linear(32, 4));
}

nn::Sequential with_batch_norm(int layers, std::int64_t width) {
  nn::Sequential net;
  for (int i = 0; i < layers; ++i) {
    net->push_back(nn::Linear(i == 0 ? 20 : width, width));
    net->push_back(nn::BatchNorm1d(width));
    net->push_back(nn::ReLU());
  }
  net->push_back(nn::Linear(width, 4));
  return net;
}

template <typename Activation>
nn::Sequential chain(int hidden, std::int64_t width) {
  nn::Sequential net;
  for (int i = 0; i < hidden; ++i) {
    net->push_back(nn::Linear(i == 0 ? 20 : width, width));
    net->push_back(Activation());
  }
  net->push_back(nn::Linear(width, 4));
  return net;
}

auto sgd(double rate, double momentum = 0) {
  return [=](nn::Sequential& net) -> std::unique_ptr<torch::optim::Optimizer> {
    return std::make_unique<torch::optim::SGD>(net->parameters(), torch::optim::SGDOptions(rate).momentum(momentum));
  };
}

auto adam(double rate) {
  return [=](nn::Sequential& net) -> std::unique_ptr<torch::optim::Optimizer> {
    return std::make_unique<torch::optim::Adam>(net->parameters(), torch::optim::AdamOptions(rate));
  };
}

Diagnosis train(const Scenario& scenario, int seed) {
  torch::manual_seed(seed);
  TemporaryDirectory directory;
  nn::Sequential net = scenario.net();
  const auto optimizer = scenario.optimizer(net);
  MonitorOptions options;
  options.messages = Messages::kNone;
  options.budget = 0;  // The schedule depends on the step alone.
  Monitor monitor(*net, *optimizer, directory / "run.h5", options);
  for (int step = 0; step < scenario.steps; ++step) {
    optimizer->zero_grad();
    const auto [x, target] = scenario.batch();
    const torch::Tensor loss = scenario.loss(net->forward(x), target);
    loss.backward();
    monitor.step(loss);
    optimizer->step();
  }
  monitor.close();
  REQUIRE(monitor.status().error.empty());
  return monitor.diagnosis();
}

std::string describe(const Diagnosis& diagnosis) {
  std::string text(name(diagnosis.verdict));
  for (const DiagnosedFinding& root : diagnosis.roots)
    text += "\n  " + std::string(name(root.finding.severity)) + " " + root.finding.rule + " " +
            root.finding.subject.name + ": " + root.finding.message;
  return text;
}

void check_quiet(const Scenario& scenario) {
  for (const int seed : {1, 2, 3}) {
    const Diagnosis diagnosis = train(scenario, seed);
    CAPTURE(scenario.name, seed, describe(diagnosis));
    CHECK(diagnosis.verdict == Verdict::kHealthy);
    for (const DiagnosedFinding& root : diagnosis.roots) CHECK(root.finding.severity == Severity::kInfo);
  }
}

void check_cause(const Scenario& scenario, const std::string& rule) {
  for (const int seed : {1, 2, 3}) {
    const Diagnosis diagnosis = train(scenario, seed);
    CAPTURE(scenario.name, seed, describe(diagnosis));
    CHECK(diagnosis.verdict == Verdict::kUnhealthy);
    REQUIRE_FALSE(diagnosis.roots.empty());
    CHECK(diagnosis.roots.front().finding.rule == rule);
  }
}

const Loss kMse = [](const torch::Tensor& y, const torch::Tensor& t) { return torch::mse_loss(y, t); };

}  // namespace

TEST_CASE("healthy classifiers stay quiet", "[hooks][healthy]") {
  check_quiet({"2x50 ReLU, Adam", [] { return mlp(2, 50); }, &blobs, adam(1e-3)});
  check_quiet({"2x256 ReLU on [0,1] inputs", [] { return mlp(2, 256); },
               [] {
                 auto [x, t] = blobs();
                 return Batch{torch::sigmoid(x), t};
               },
               sgd(0.1, 0.9)});
  check_quiet({"small CNN on [0,1] images", &cnn, &small_images, sgd(0.05, 0.9), Scenario{}.loss, 150});
  check_quiet({"4x32 tanh", [] { return chain<nn::Tanh>(4, 32); }, &blobs, sgd(0.05, 0.9)});
  check_quiet({"12x64 ReLU with batch normalisation", [] { return with_batch_norm(12, 64); }, &blobs, sgd(0.05, 0.9)});
  check_quiet({"5 hidden layers, default initialisation", [] { return mlp(5, 128); }, &blobs, adam(1e-3)});
}

TEST_CASE("healthy runs of other kinds stay quiet", "[hooks][healthy]") {
  check_quiet({"regression that converges", [] { return mlp(2, 32, 8, 1); }, &regression, adam(3e-3), kMse});
  check_quiet({"a sum-reduced loss", [] { return mlp(1, 32, 8, 1); }, &regression, sgd(1e-4),
               [](const torch::Tensor& y, const torch::Tensor& t) { return (y - t).square().sum(); }});
  check_quiet({"a negative log-density", [] { return mlp(2, 32, 8, 2); }, &regression, adam(1e-3),
               [](const torch::Tensor& y, const torch::Tensor& t) {
                 const torch::Tensor log_std = y.select(1, 1).clamp(-4, 4);
                 return (log_std + 0.5 * ((y.select(1, 0) - t.squeeze(1)) / log_std.exp()).square()).mean() - 3;
               }});
  check_quiet({"interpolation of one batch until the gradient is gone", [] { return mlp(3, 128); },
               [] {
                 torch::manual_seed(99);
                 return blobs();
               },
               adam(1e-3)});
  check_quiet({"a frozen first layer",
               [] {
                 nn::Sequential net = mlp(3, 64);
                 for (auto& parameter : net[0]->parameters()) parameter.requires_grad_(false);
                 return net;
               },
               &blobs, adam(1e-3)});
  check_quiet({"token ids into an embedding",
               [] {
                 return nn::Sequential(nn::Embedding(500, 16), nn::Flatten(), nn::Linear(16 * 6, 32), nn::ReLU(),
                                       nn::Linear(32, 4));
               },
               [] {
                 const torch::Tensor target = torch::randint(4, {64});
                 return Batch{torch::randint(125, {64, 6}) + 125 * target.unsqueeze(1), target};
               },
               adam(1e-2)});
  check_quiet({"inputs in physical units behind a batch normalisation",
               [] { return nn::Sequential(nn::BatchNorm1d(20), nn::Linear(20, 32), nn::ReLU(), nn::Linear(32, 4)); },
               [] {
                 auto [x, t] = blobs();
                 return Batch{300 + 25 * x, t};
               },
               sgd(0.05, 0.9)});
}

TEST_CASE("raw pixels are the root cause", "[hooks][faults]") {
  check_cause({"CNN on 0..255, SGD", &cnn, &raw_images, sgd(0.05, 0.9), Scenario{}.loss, 100}, "unnormalized-input");
  check_cause({"MLP on features up to 1000, SGD", [] { return mlp(1, 64, 8, 1); },
               [] {
                 const torch::Tensor x = torch::rand({64, 8}) * 1000;
                 return Batch{x, x.mean(1, true) / 100};
               },
               sgd(0.01), kMse, 100},
              "unnormalized-input");
}

TEST_CASE("a learning rate that is far too large is found where it shows first", "[hooks][faults]") {
  for (const int seed : {1, 2, 3}) {
    const Diagnosis diagnosis = train({"3x64 ReLU, Adam lr 1", [] { return mlp(3, 64); }, &blobs, adam(1.0)}, seed);
    CAPTURE(seed, describe(diagnosis));
    CHECK(diagnosis.verdict == Verdict::kUnhealthy);
    REQUIRE_FALSE(diagnosis.roots.empty());
    const std::string& rule = diagnosis.roots.front().finding.rule;
    CHECK((rule == "diverging-loss" || rule == "exploding-gradient" || rule == "update-too-large"));
    CHECK_FALSE(diagnosis.roots.front().finding.recommendations.empty());
  }
  check_cause({"regression to large targets, SGD lr 0.1", [] { return mlp(2, 64, 8, 1); },
               [] {
                 auto [x, t] = regression();
                 return Batch{x, 60 * t};
               },
               sgd(0.1), kMse, 60},
              "unnormalized-target");
}

TEST_CASE("what is not a number is traced to where it comes from", "[hooks][faults]") {
  int step = 0;
  check_cause({"one NaN in the data",
               [&] {
                 step = 0;
                 return mlp(2, 32);
               },
               [&] {
                 auto [x, t] = blobs();
                 if (step++ == 40) x[3][7] = std::nanf("");
                 return Batch{x, t};
               },
               adam(1e-3), Scenario{}.loss, 80},
              "nonfinite-input");
  check_cause({"log of a softmax that underflows", [] { return mlp(1, 32); },
               [] {
                 auto [x, t] = blobs();
                 return Batch{x * 3, t};
               },
               sgd(1.0, 0.9),
               [](const torch::Tensor& y, const torch::Tensor& t) {
                 return torch::nll_loss(torch::softmax(y * 60, 1).log(), t);
               },
               60},
              "nonfinite-activation");
}

TEST_CASE("a deep sigmoid chain loses its gradient", "[hooks][faults]") {
  const Scenario scenario{"8x32 sigmoid", [] { return chain<nn::Sigmoid>(8, 32); }, &blobs, sgd(0.1, 0.9)};
  // The mechanism is the root, the dying gradient its consequence.
  check_cause(scenario, "jacobian-growth");
  const Diagnosis diagnosis = train(scenario, 1);
  CAPTURE(describe(diagnosis));
  REQUIRE_FALSE(diagnosis.roots.front().consequences.empty());
  CHECK(diagnosis.roots.front().consequences.front().finding.rule == "vanishing-gradient");
}

TEST_CASE("units that are dead from the start are found", "[hooks][faults]") {
  check_cause({"biases far below zero",
               [] {
                 nn::Sequential net = mlp(2, 32);
                 const torch::NoGradGuard no_grad;
                 net[2]->as<nn::Linear>()->bias.fill_(-50);
                 return net;
               },
               &blobs, adam(1e-4)},
              "dead-units");
}

TEST_CASE("an optimizer that holds other parameters is found", "[hooks][faults]") {
  check_cause({"optimizer of a copy", [] { return mlp(2, 32); }, &blobs,
               [](nn::Sequential& net) -> std::unique_ptr<torch::optim::Optimizer> {
                 std::vector<torch::Tensor> copies;
                 for (const auto& parameter : net->parameters()) copies.push_back(parameter.detach().clone());
                 return std::make_unique<torch::optim::SGD>(copies, torch::optim::SGDOptions(0.1));
               }},
              "parameter-not-optimized");
}
