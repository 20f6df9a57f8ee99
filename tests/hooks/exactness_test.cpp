#include <algorithm>
#include <cmath>

#include <torch/torch.h>

#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Axis;
using gradhealth::Monitor;
using gradhealth::Quantity;

namespace {

/// Float sums in double against LibTorch's in float or double.
constexpr double kTolerance = 1e-5;

bool close(double value, double reference) {
  return std::fabs(value - reference) <= kTolerance * std::max(std::fabs(reference), 1e-12);
}

double norm_of(const torch::Tensor& tensor) { return tensor.to(torch::kFloat64).norm().item<double>(); }

}  // namespace

TEST_CASE("gradients at activations equal autograd's, through in-place operators and a residual branch", "[hooks]") {
  torch::manual_seed(3);
  TemporaryDirectory directory;
  ConvNet net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  const torch::Tensor input = torch::randn({8, 1, 8, 8});
  const torch::Tensor target = torch::randint(3, {8});

  // The same forward by hand keeps the intermediate tensors for torch::autograd::grad. Not the monitored pass: that one
  // is the net's own, on the same batch statistics.
  torch::Tensor conv1 = net->conv1(input);
  torch::Tensor norm = net->norm(conv1);
  torch::Tensor relu1 = torch::relu(norm);
  torch::Tensor conv2 = net->conv2(relu1);
  torch::Tensor relu2 = torch::relu(conv2 + relu1);
  torch::Tensor fc1 = net->fc1(torch::max_pool2d(relu2, 2).flatten(1));
  torch::Tensor layer_norm = net->layer_norm(fc1);
  torch::Tensor tanh = torch::tanh(layer_norm);
  torch::Tensor fc2 = net->fc2(tanh);
  const std::vector<std::pair<std::string, torch::Tensor>> references{
      {"conv1", conv1},      {"norm", norm}, {"norm:relu", relu1},       {"conv2", conv2},
      {"conv2:relu", relu2}, {"fc1", fc1},   {"layer_norm", layer_norm}, {"layer_norm:tanh", tanh},
      {"fc2", fc2}};
  std::vector<torch::Tensor> tensors;
  for (const auto& reference : references) tensors.push_back(reference.second);
  const auto gradients = torch::autograd::grad({torch::cross_entropy_loss(fc2, target)}, tensors);
  // A pass that was differentiated by autograd::grad belongs to the step too; a step of its own keeps it out.
  monitor.step(torch::zeros({}));

  const torch::Tensor loss = torch::cross_entropy_loss(net->forward(input), target);
  loss.backward();
  monitor.step(loss);
  monitor.close();

  const Rows run(directory / "run.h5");
  REQUIRE(run.rows.size() == 2);
  for (std::size_t i = 0; i < references.size(); ++i) {
    CAPTURE(references[i].first);
    const torch::Tensor value = references[i].second.to(torch::kFloat64);
    CHECK(close(run.at(1, Quantity::kActivationGradientNorm, references[i].first), norm_of(gradients[i])));
    CHECK(run.at(1, Quantity::kActivationGradientNonfinite, references[i].first) == 0);
    if (references[i].first == "conv2") continue;  // Overwritten by the residual sum in the net's own forward pass.
    CHECK(std::fabs(run.at(1, Quantity::kActivationMean, references[i].first) - value.mean().item<double>()) < 1e-6);
    CHECK(close(run.at(1, Quantity::kActivationStd, references[i].first), value.std(false).item<double>()));
    CHECK(
        close(run.at(1, Quantity::kActivationRms, references[i].first), std::sqrt(value.pow(2).mean().item<double>())));
    CHECK(close(run.at(1, Quantity::kActivationMax, references[i].first), value.abs().max().item<double>()));
    CHECK(close(run.at(1, Quantity::kActivationZeroFraction, references[i].first),
                value.eq(0).to(torch::kFloat64).mean().item<double>()));
  }
  const double fc1_gradient = norm_of(gradients[5]);
  CHECK(close(run.at(1, Quantity::kBackwardGain, "layer_norm"), fc1_gradient / norm_of(gradients[6])));
  CHECK(close(run.at(1, Quantity::kCumulativeGrowth, "fc1"), fc1_gradient / norm_of(gradients[8])));
  CHECK(run.at(1, Quantity::kCumulativeGrowth, "fc2") == 1);
}

TEST_CASE("a linear layer with inputs of three dimensions is one activation, bias included", "[hooks]") {
  torch::manual_seed(4);
  TemporaryDirectory directory;
  torch::nn::Linear linear(5, 7);
  linear->to(torch::kFloat64);
  Monitor monitor(*linear, directory / "run.h5", every_step());
  const torch::Tensor input = torch::randn({3, 4, 5}, torch::kFloat64);
  const torch::Tensor output = linear->forward(input);
  const torch::Tensor loss = output.pow(2).mean();
  const torch::Tensor gradient = 2 * output.detach() / static_cast<double>(output.numel());
  loss.backward();
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  // Without a dot in its name a parameter stands for its own module.
  REQUIRE(run.names(Axis::kActivation) == std::vector<std::string>{"weight"});
  const std::string name = "weight";
  CHECK(close(run.at(0, Quantity::kActivationGradientNorm, name), norm_of(gradient)));
  CHECK(close(run.at(0, Quantity::kActivationRms, name), std::sqrt(output.pow(2).mean().item<double>())));
}

TEST_CASE("custom modules are seen through their parameters", "[hooks]") {
  torch::manual_seed(5);
  TemporaryDirectory directory;
  CustomNet net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  const torch::Tensor output = net->forward(torch::randn({9, 5}));
  const torch::Tensor loss = torch::mse_loss(output, torch::randn({9, 2}));
  loss.backward();
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(run.names(Axis::kActivation) == std::vector<std::string>{"w1", "w1:gelu", "w2"});
  CHECK(close(run.at(0, Quantity::kActivationRms, "w2"), norm_of(output) / std::sqrt(18.0)));
}

TEST_CASE("parameter quantities equal LibTorch's own", "[hooks]") {
  torch::manual_seed(6);
  TemporaryDirectory directory;
  ConvNet net;
  torch::optim::Adam optimizer(net->parameters(), torch::optim::AdamOptions(3e-3));
  Monitor monitor(*net, optimizer, directory / "run.h5", every_step());
  const torch::Tensor loss =
      torch::cross_entropy_loss(net->forward(torch::randn({8, 1, 8, 8})), torch::randint(3, {8}));
  loss.backward();
  const auto before = net->named_parameters();
  std::vector<torch::Tensor> weights, gradients;
  double squares = 0;
  for (const auto& item : before) {
    weights.push_back(item.value().detach().clone());
    gradients.push_back(item.value().grad().clone());
    squares += std::pow(norm_of(item.value().grad()), 2);
  }
  monitor.step(loss);
  optimizer.step();
  monitor.close();

  const Rows run(directory / "run.h5");
  REQUIRE(run.rows.size() == 1);
  CHECK(run.rows[0].at(Quantity::kLoss) == loss.item<float>());
  CHECK(run.rows[0].at(Quantity::kLossNonfinite) == 0);
  CHECK(run.rows[0].at(Quantity::kLearningRate) == 3e-3);
  CHECK(run.rows[0].at(Quantity::kBatchSize) == 8);
  CHECK(close(run.rows[0].at(Quantity::kGlobalGradientNorm), std::sqrt(squares)));
  CHECK(run.run.info.optimizer == "Adam");
  std::size_t i = 0;
  for (const auto& item : before) {
    CAPTURE(item.key());
    CHECK(close(run.at(0, Quantity::kGradientNorm, item.key()), norm_of(gradients[i])));
    CHECK(close(run.at(0, Quantity::kGradientMax, item.key()), gradients[i].abs().max().item<double>()));
    CHECK(run.at(0, Quantity::kGradientNonfinite, item.key()) == 0);
    CHECK(run.at(0, Quantity::kGradientZeros, item.key()) == gradients[i].eq(0).sum().item<double>());
    CHECK(run.at(0, Quantity::kWeightNonfinite, item.key()) == 0);
    if (norm_of(weights[i]) > 0) {
      CHECK(close(run.at(0, Quantity::kWeightNorm, item.key()), norm_of(weights[i])));
      const double ratio = norm_of(item.value().detach() - weights[i]) / norm_of(weights[i]);
      const double recorded = run.at(0, Quantity::kUpdateRatio, item.key());
      if (weights[i].numel() <= 1024)  // Small enough to be sampled whole.
        CHECK(close(recorded, ratio));
      else
        CHECK(std::fabs(recorded / ratio - 1) < 0.1);
    }
    ++i;
  }
}

TEST_CASE("a sampled update ratio is near the exact one, and 0 only if nothing changed", "[hooks]") {
  torch::manual_seed(7);
  TemporaryDirectory directory;
  torch::nn::Linear linear(300, 200);
  torch::optim::SGD optimizer(linear->parameters(), torch::optim::SGDOptions(0.1));
  Monitor monitor(*linear, optimizer, directory / "run.h5", every_step());
  std::vector<double> exact;
  for (double rate : {0.1, 0.0, 0.2}) {
    for (auto& group : optimizer.param_groups()) group.options().set_lr(rate);
    optimizer.zero_grad();
    const torch::Tensor loss = linear->forward(torch::randn({32, 300})).pow(2).mean();
    loss.backward();
    monitor.step(loss);
    const torch::Tensor before = linear->weight.detach().clone();
    optimizer.step();
    exact.push_back(norm_of(linear->weight.detach() - before) / norm_of(before));
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  REQUIRE(run.rows.size() == 3);
  CHECK(std::fabs(run.at(0, Quantity::kUpdateRatio, "weight") / exact[0] - 1) < 0.15);
  CHECK(run.at(1, Quantity::kUpdateRatio, "weight") == 0);
  CHECK(std::fabs(run.at(2, Quantity::kUpdateRatio, "weight") / exact[2] - 1) < 0.15);
}

TEST_CASE("an update that the sample misses is missing, not zero", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Embedding embedding(10'000, 8);
  torch::optim::SGD optimizer(embedding->parameters(), torch::optim::SGDOptions(0.1));
  Monitor monitor(*embedding, optimizer, directory / "run.h5", every_step());
  const torch::Tensor loss = embedding->forward(torch::tensor({1234}, torch::kInt64)).pow(2).sum();
  loss.backward();
  monitor.step(loss);
  optimizer.step();
  monitor.step(loss.detach());
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(std::isnan(run.at(0, Quantity::kUpdateRatio, "weight")));
}

TEST_CASE("input statistics are per channel and see what is not finite", "[hooks]") {
  torch::manual_seed(8);
  TemporaryDirectory directory;
  torch::nn::Sequential net(torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 4, 3)), torch::nn::ReLU(),
                            torch::nn::Flatten(), torch::nn::Linear(4 * 6 * 6, 2));
  Monitor monitor(*net, directory / "run.h5", every_step());
  torch::Tensor input = torch::randint(256, {5, 3, 8, 8}).to(torch::kFloat32);
  input.select(1, 1).mul_(0.1).add_(7);
  torch::Tensor loss = net->forward(input).pow(2).mean();
  loss.backward();
  monitor.step(loss);
  torch::Tensor bad = input.clone();
  bad[3][2][0][5] = std::nanf("");
  loss = net->forward(bad).pow(2).mean();
  loss.backward();
  monitor.step(loss);
  monitor.close();

  const Rows run(directory / "run.h5");
  CHECK(run.names(Axis::kFeature) == std::vector<std::string>{"channel 0", "channel 1", "channel 2"});
  CHECK(run.run.of(Axis::kFeature)[0].kind == "conv2d");
  for (int channel = 0; channel < 3; ++channel) {
    const std::string name = "channel " + std::to_string(channel);
    const torch::Tensor values = input.select(1, channel).to(torch::kFloat64);
    CHECK(close(run.at(0, Quantity::kInputMean, name), values.mean().item<double>()));
    CHECK(close(run.at(0, Quantity::kInputStd, name), values.std(false).item<double>()));
    CHECK(close(run.at(0, Quantity::kInputMin, name), values.min().item<double>()));
    CHECK(close(run.at(0, Quantity::kInputMax, name), values.max().item<double>()));
    CHECK(run.at(0, Quantity::kInputNonfinite, name) == 0);
  }
  CHECK(run.at(0, Quantity::kInputIntegerFraction, "channel 0") == 1);
  CHECK(run.at(0, Quantity::kInputIntegerFraction, "channel 1") < 0.3);
  CHECK(run.at(1, Quantity::kInputNonfinite, "channel 2") == 1);
  const auto& events = run.rows[1].events;
  const auto told = std::find_if(events.begin(), events.end(),
                                 [](const gradhealth::Event& event) { return event.kind == "nonfinite-input"; });
  REQUIRE(told != events.end());
  CHECK(told->text.find("sample 3 of a batch of 5") != std::string::npos);
  CHECK(run.at(1, Quantity::kActivationNonfinite, "0") > 0);
}

TEST_CASE("gradients that are missing, zero and not finite are three different things", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net(torch::nn::Linear(2, 2), torch::nn::Linear(2, 2));
  net[0]->as<torch::nn::Linear>()->weight.requires_grad_(false);
  Monitor monitor(*net, directory / "run.h5", every_step());
  const torch::Tensor loss = net->forward(torch::ones({1, 2})).sum() * 0.0;
  loss.backward();
  net[1]->as<torch::nn::Linear>()->bias.mutable_grad()[0] = INFINITY;
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(std::isnan(run.at(0, Quantity::kGradientNorm, "0.weight")));
  CHECK(run.at(0, Quantity::kGradientNorm, "0.bias") == 0);
  CHECK(run.at(0, Quantity::kGradientZeros, "0.bias") == 2);
  CHECK(std::isinf(run.at(0, Quantity::kGradientNorm, "1.bias")));
  CHECK(run.at(0, Quantity::kGradientNonfinite, "1.bias") == 1);
}

TEST_CASE("a unit that is silent for every sample of the window is dead", "[hooks]") {
  torch::manual_seed(9);
  TemporaryDirectory directory;
  torch::nn::Sequential net(torch::nn::Linear(4, 8), torch::nn::ReLU(), torch::nn::Linear(8, 1));
  {
    const torch::NoGradGuard no_grad;
    net[0]->as<torch::nn::Linear>()->bias.slice(0, 0, 3).fill_(-1000);
  }
  Monitor monitor(*net, directory / "run.h5", every_step());
  for (int step = 0; step < 25; ++step) {
    const torch::Tensor loss = net->forward(torch::randn({64, 4})).pow(2).mean();
    loss.backward();
    monitor.step(loss);
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(std::isnan(run.at(18, Quantity::kActivationDeadFraction, "0:relu")));
  CHECK(run.at(19, Quantity::kActivationDeadFraction, "0:relu") == 3.0f / 8.0f);
  CHECK(run.at(24, Quantity::kActivationDeadFraction, "0:relu") == 3.0f / 8.0f);
}

TEST_CASE("micro-batches of one update are one step", "[hooks]") {
  torch::manual_seed(10);
  TemporaryDirectory directory;
  torch::nn::Sequential net(torch::nn::Linear(3, 4), torch::nn::ReLU(), torch::nn::Linear(4, 1));
  Monitor monitor(*net, directory / "run.h5", every_step());
  const torch::Tensor input = torch::randn({12, 3});
  torch::Tensor loss;
  for (int part = 0; part < 3; ++part) {
    loss = net->forward(input.slice(0, 4 * part, 4 * part + 4)).pow(2).sum();
    loss.backward();
  }
  monitor.step(loss);
  net->zero_grad();
  loss = net->forward(input).pow(2).sum();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(run.names(Axis::kActivation) == std::vector<std::string>{"0", "0:relu", "2"});
  for (const auto quantity : {Quantity::kActivationGradientNorm, Quantity::kActivationRms, Quantity::kActivationStd})
    for (const std::string& name : run.names(Axis::kActivation))
      CHECK(close(run.at(0, quantity, name), run.at(1, quantity, name)));
  CHECK(run.rows[0].at(Quantity::kBatchSize) == 12);
  CHECK(close(run.rows[0].at(Quantity::kGlobalGradientNorm), run.rows[1].at(Quantity::kGlobalGradientNorm)));
}
