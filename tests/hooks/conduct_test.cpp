// What the monitor does not do: change the training, throw, keep things alive, record what is no training.
#include <cmath>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <thread>

#include <torch/torch.h>

#include <gradhealth/errors.h>

#include "hooks/models.h"
#include "hooks/torch_compat.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Axis;
using gradhealth::Monitor;
using gradhealth::MonitorOptions;
using gradhealth::MonitorState;
using gradhealth::Quantity;

namespace {

/// Trains with dropout, batch normalisation and clipping, evaluating now and then.
template <typename Optimizer, typename Options>
std::vector<torch::Tensor> train(Options optimizer_options, const std::filesystem::path* path, std::int64_t every) {
  torch::manual_seed(11);
  ConvNet net;
  net->dropout = 0.3;
  Optimizer optimizer(net->parameters(), optimizer_options);
  std::optional<Monitor> monitor;
  if (path) {
    MonitorOptions options = every_step();
    options.every = every;
    monitor.emplace(*net, optimizer, *path, options);
  }
  for (int step = 0; step < 200; ++step) {
    optimizer.zero_grad();
    const torch::Tensor loss =
        torch::cross_entropy_loss(net->forward(torch::randn({16, 1, 8, 8})), torch::randint(3, {16}));
    loss.backward();
    if (monitor) {
      monitor->step(loss);
      monitor->record("step", step);
    }
    torch::nn::utils::clip_grad_norm_(net->parameters(), 0.5);
    optimizer.step();
    if (step % 50 == 0) {
      const torch::NoGradGuard no_grad;
      net->eval();
      net->forward(torch::randn({4, 1, 8, 8}));
      net->train();
    }
  }
  if (monitor) {
    monitor->close();
    CHECK(monitor->status().error.empty());
    CHECK(monitor->status().steps == 200);
  }
  std::vector<torch::Tensor> state = net->parameters();
  for (const torch::Tensor& buffer : net->buffers()) state.push_back(buffer);
  state.push_back(torch::randn({4}));  // The generator has moved equally far.
  return state;
}

void check_identical(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(torch::equal(a[i], b[i]));
}

/// Sets an environment variable for the length of a scope.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Environment() { ::unsetenv(name_); }

 private:
  const char* name_;
};

torch::Tensor train_step(torch::nn::Sequential& net, Monitor& monitor, const torch::Tensor& input) {
  net->zero_grad();
  const torch::Tensor loss = net->forward(input).pow(2).mean();
  loss.backward();
  monitor.step(loss);
  return loss;
}

torch::nn::Sequential small_net() {
  return torch::nn::Sequential(torch::nn::Linear(3, 4), torch::nn::ReLU(), torch::nn::Linear(4, 1));
}

}  // namespace

TEST_CASE("weights after 200 steps are bit-identical with and without the monitor", "[hooks]") {
  TemporaryDirectory directory;
  const std::filesystem::path sgd = directory / "sgd.h5";
  const std::filesystem::path adam = directory / "adam.h5";
  const std::filesystem::path sparse = directory / "sparse.h5";
  const auto sgd_options = torch::optim::SGDOptions(0.05).momentum(0.9);
  const auto adam_options = torch::optim::AdamOptions(1e-3);
  const auto bare = train<torch::optim::SGD>(sgd_options, nullptr, 0);
  check_identical(bare, train<torch::optim::SGD>(sgd_options, &sgd, 1));
  check_identical(bare, train<torch::optim::SGD>(sgd_options, &sparse, 0));
  check_identical(train<torch::optim::Adam>(adam_options, nullptr, 0), train<torch::optim::Adam>(adam_options, &adam, 1));
  CHECK(Rows(sgd).rows.size() == 200);
}

TEST_CASE("evaluation leaves no trace", "[hooks]") {
  torch::manual_seed(12);
  TemporaryDirectory directory;
  torch::nn::Sequential net = small_net();
  Monitor monitor(*net, directory / "run.h5", every_step());
  const torch::Tensor input = torch::randn({8, 3});
  train_step(net, monitor, input);
  {
    const torch::NoGradGuard no_grad;
    net->forward(100 * input);
  }
  net->forward(100 * input);  // An evaluation whose author forgot the guard: nothing is differentiated through it.
  std::thread([&] { net->forward(100 * input); }).join();
  train_step(net, monitor, input);
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(run.names(Axis::kActivation) == std::vector<std::string>{"0", "0:relu", "2"});
  for (const std::string& name : run.names(Axis::kActivation))
    CHECK(run.at(0, Quantity::kActivationRms, name) == run.at(1, Quantity::kActivationRms, name));
  CHECK(run.rows[1].at(Quantity::kBatchSize) == 8);
}

TEST_CASE("forward and backward on another thread are recorded", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net = small_net();
  Monitor monitor(*net, directory / "run.h5", every_step());
  torch::Tensor loss;
  std::thread([&] {
    loss = net->forward(torch::ones({2, 3})).sum();
    loss.backward();
  }).join();
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(run.at(0, Quantity::kActivationGradientNorm, "2") > 0);
}

TEST_CASE("two monitors see their own model only", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential generator = small_net();
  torch::nn::Sequential critic(torch::nn::Linear(1, 2), torch::nn::Tanh(), torch::nn::Linear(2, 1));
  MonitorOptions options = every_step();
  options.name = "G";
  Monitor g(*generator, directory.path(), options);
  options.name = "D";
  Monitor d(*critic, directory.path(), options);
  const torch::Tensor loss = critic->forward(generator->forward(torch::randn({4, 3}))).mean();
  loss.backward();
  g.step(loss);
  d.step(loss);
  g.close();
  d.close();
  CHECK(Rows(directory / "G.h5").names(Axis::kActivation) == std::vector<std::string>{"0", "0:relu", "2"});
  CHECK(Rows(directory / "D.h5").names(Axis::kActivation) == std::vector<std::string>{"0", "0:tanh", "2"});
  CHECK(Rows(directory / "D.h5").run.info.name == "D");
}

TEST_CASE("no graph is kept alive and nothing is recorded once the monitor is gone", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net = small_net();
  gradhealth::hooks::WeakNode node;
  {
    Monitor monitor(*net, directory / "run.h5", every_step());
    {
      const torch::Tensor loss = net->forward(torch::ones({2, 3})).sum();
      node = loss.grad_fn();
      loss.backward();
      monitor.step(loss);
    }
    CHECK(node.expired());
  }
  const torch::Tensor loss = net->forward(torch::ones({2, 3})).sum();
  loss.backward();
  SUCCEED("hooks left behind do not fire");
}

TEST_CASE("the model may be destroyed before the monitor", "[hooks]") {
  TemporaryDirectory directory;
  std::optional<Monitor> monitor;
  torch::Tensor loss;
  {
    torch::nn::Sequential net = small_net();
    monitor.emplace(*net, directory / "run.h5", every_step());
    loss = net->forward(torch::ones({2, 3})).sum();
    loss.backward();
  }
  monitor->step(loss);
  monitor->close();
  CHECK(Rows(directory / "run.h5").at(0, Quantity::kGradientNorm, "0.weight") >= 0);
}

TEST_CASE("a module on the stack can be monitored", "[hooks]") {
  TemporaryDirectory directory;
  ConvNetImpl net;
  Monitor monitor(net, directory / "run.h5", every_step());
  const torch::Tensor loss = net.forward(torch::randn({4, 1, 8, 8})).sum();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  CHECK(Rows(directory / "run.h5").at(0, Quantity::kActivationGradientNorm, "fc2") > 0);
}

TEST_CASE("a model that is no module is given as named tensors", "[hooks]") {
  TemporaryDirectory directory;
  const torch::Tensor weight = torch::randn({3, 2}, torch::requires_grad());
  const torch::Tensor bias = torch::zeros({2}, torch::requires_grad());
  Monitor monitor({{"layer.weight", weight}, {"layer.bias", bias}}, directory / "run.h5", every_step());
  const torch::Tensor loss = torch::addmm(bias, torch::ones({5, 3}), weight).sum();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(run.names(Axis::kParameter) == std::vector<std::string>{"layer.weight", "layer.bias"});
  CHECK(run.names(Axis::kActivation) == std::vector<std::string>{"layer"});
}

TEST_CASE("parameters in one flat buffer and tied parameters are told apart", "[hooks]") {
  TemporaryDirectory directory;
  const torch::Tensor buffer = torch::randn({12});
  const torch::Tensor a = buffer.slice(0, 0, 6).view({2, 3}).requires_grad_();
  const torch::Tensor b = buffer.slice(0, 6, 12).view({3, 2}).requires_grad_();
  Monitor monitor({{"a", a}, {"b", b}, {"again", b}}, directory / "run.h5", every_step());
  const torch::Tensor loss = torch::ones({4, 2}).matmul(a).matmul(b).sum();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(run.names(Axis::kParameter) == std::vector<std::string>{"a", "b|again"});
  CHECK(run.names(Axis::kActivation) == std::vector<std::string>{"a", "b"});
}

TEST_CASE("tapped tensors are activations", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net = small_net();
  Monitor monitor(*net, directory / "run.h5", every_step());
  const torch::Tensor x = net->forward(torch::ones({2, 3}));
  const torch::Tensor scaled = x * 3;
  monitor.tap("scaled", scaled);
  const torch::Tensor loss = scaled.sum();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(run.at(0, Quantity::kActivationGradientNorm, "scaled") == static_cast<float>(std::sqrt(2.0)));
}

TEST_CASE("values recorded by name are kept, after the last step and between recorded steps too", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net = small_net();
  MonitorOptions options = every_step();
  options.every = 10;
  Monitor monitor(*net, directory / "run.h5", options);
  for (int step = 0; step < 15; ++step) {
    if (step == 5) monitor.record("accuracy", 0.5);
    train_step(net, monitor, torch::ones({2, 3}));
  }
  monitor.record("accuracy", 0.75);
  monitor.close();
  const Rows run(directory / "run.h5");
  std::vector<std::int64_t> steps;
  for (const auto& row : run.rows) steps.push_back(row.step);
  REQUIRE(steps == std::vector<std::int64_t>{0, 5, 10, 15});
  CHECK(run.at(1, Quantity::kNamedValue, "accuracy") == 0.5);
  CHECK(run.at(3, Quantity::kNamedValue, "accuracy") == 0.75);
  CHECK(std::isnan(run.at(2, Quantity::kNamedValue, "accuracy")));
}

TEST_CASE("a loss that is no number is recorded as such and an odd one as missing", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net = small_net();
  Monitor monitor(*net, directory / "run.h5", every_step());
  net->forward(torch::ones({2, 3})).sum().backward();
  monitor.step(torch::tensor(std::numeric_limits<float>::quiet_NaN()));
  monitor.step(torch::Tensor());
  monitor.step(torch::ones({3}));
  monitor.step(torch::tensor(2, torch::kInt64));
  monitor.close();
  CHECK(monitor.status().error.empty());
  const Rows run(directory / "run.h5");
  CHECK(run.rows[0].at(Quantity::kLossNonfinite) == 1);
  CHECK(std::isnan(run.rows[1].at(Quantity::kLossNonfinite)));
  CHECK(std::isnan(run.rows[2].at(Quantity::kLoss)));
  CHECK(run.rows[3].at(Quantity::kLoss) == 2);
}

TEST_CASE("a loss that stops being a number between recorded steps is recorded", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net = small_net();
  MonitorOptions options;
  options.messages = gradhealth::Messages::kNone;
  Monitor monitor(*net, directory / "run.h5", options);
  for (int step = 0; step < 35; ++step) {
    torch::Tensor input = torch::ones({2, 3});
    if (step == 33) input.fill_(std::nanf(""));
    train_step(net, monitor, input);
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(run.rows[run.rows.size() - 2].step == 33);
  CHECK(run.rows[run.rows.size() - 2].at(Quantity::kLossNonfinite) == 1);
  CHECK(run.rows.back().step == 34);  // A suspicion raises the rate at once.
}

TEST_CASE("wrong use is told before the training starts", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential empty;
  torch::nn::Sequential net = small_net();
  MonitorOptions options = every_step();
  CHECK_THROWS_AS(Monitor(*empty, directory / "run.h5", options), gradhealth::UsageError);
  options.every = -1;
  CHECK_THROWS_AS(Monitor(*net, directory / "run.h5", options), gradhealth::UsageError);
  options = every_step();
  options.diagnosis.rules["no-such-rule"] = {};
  CHECK_THROWS_AS(Monitor(*net, directory / "run.h5", options), gradhealth::UsageError);
  CHECK_FALSE(std::filesystem::exists(directory / "run.h5"));
}

TEST_CASE("an existing run is not overwritten", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net = small_net();
  Monitor first(*net, directory / "run.h5", every_step());
  Monitor second(*net, directory / "run.h5", every_step());
  CHECK(second.status().path == directory / "run-2.h5");
  MonitorOptions options = every_step();
  options.if_exists = gradhealth::IfExists::kError;
  CHECK_THROWS_AS(Monitor(*net, directory / "run.h5", options), gradhealth::UsageError);
}

TEST_CASE("GRADHEALTH=off switches the monitor off", "[hooks]") {
  const Environment off("GRADHEALTH", "off");
  TemporaryDirectory directory;
  torch::nn::Sequential net = small_net();
  Monitor monitor(*net, directory / "run.h5", every_step());
  train_step(net, monitor, torch::ones({2, 3}));
  CHECK(monitor.status().state == MonitorState::kOff);
  CHECK_FALSE(std::filesystem::exists(directory / "run.h5"));
}

TEST_CASE("a forward that throws does not disturb the next one", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net = small_net();
  Monitor monitor(*net, directory / "run.h5", every_step());
  CHECK_THROWS(net->forward(torch::ones({2, 7})));
  train_step(net, monitor, torch::ones({2, 3}));
  monitor.close();
  CHECK(Rows(directory / "run.h5").names(Axis::kActivation) == std::vector<std::string>{"0", "0:relu", "2"});
}

TEST_CASE("a file that cannot be written ends the recording, not the training", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net = small_net();
  Monitor monitor(*net, directory / "run.h5", every_step());
  train_step(net, monitor, torch::ones({2, 3}));
  std::filesystem::remove(directory / "run.h5");
  for (int i = 0; i < 400 && monitor.status().state == MonitorState::kRecording; ++i) {
    train_step(net, monitor, torch::ones({2, 3}));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(monitor.status().state == MonitorState::kDisabled);
  CHECK(monitor.status().error.find("run.h5") != std::string::npos);
  train_step(net, monitor, torch::ones({2, 3}));
}
