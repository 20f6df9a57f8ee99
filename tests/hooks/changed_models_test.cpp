// Models whose parameters are not the ones that the monitor was given, and scripts that hide their operators.
#include <algorithm>
#include <cmath>

#include <torch/script.h>
#include <torch/torch.h>

#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Axis;
using gradhealth::Event;
using gradhealth::Monitor;
using gradhealth::Quantity;

namespace {

struct PairImpl : torch::nn::Module {
  torch::nn::Linear fc1{4, 5};
  torch::nn::Linear fc2{5, 2};

  PairImpl() {
    register_module("fc1", fc1);
    register_module("fc2", fc2);
  }
  torch::Tensor forward(const torch::Tensor& x) { return fc2(torch::relu(fc1(x))); }
};
TORCH_MODULE(Pair);

double norm_of(const torch::Tensor& tensor) { return tensor.to(torch::kFloat64).norm().item<double>(); }

bool close(double value, double reference) { return std::fabs(value - reference) <= 1e-5 * std::fabs(reference); }

template <typename Net>
void train_step(Net& net, Monitor& monitor) {
  net.zero_grad();
  const torch::Tensor loss = net.forward(torch::ones({3, 4})).pow(2).mean();
  loss.backward();
  monitor.step(loss);
}

std::vector<Event> events_of(const Rows& run, const std::string& kind) {
  std::vector<Event> events;
  for (const auto& row : run.rows)
    std::copy_if(row.events.begin(), row.events.end(), std::back_inserter(events),
                 [&](const Event& event) { return event.kind == kind; });
  return events;
}

}  // namespace

TEST_CASE("a module replaced after attaching is watched instead of the one before", "[hooks]") {
  torch::manual_seed(31);
  TemporaryDirectory directory;
  Pair net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  train_step(*net, monitor);
  net->fc2 = net->replace_module("fc2", torch::nn::Linear(5, 2));
  train_step(*net, monitor);
  const double gradient = norm_of(net->fc2->weight.grad());
  train_step(*net, monitor);
  monitor.close();
  const Rows run(directory / "run.h5");
  const std::vector<Event> events = events_of(run, "replaced-parameter");
  REQUIRE(events.size() == 2);
  CHECK(events[0].subject == "fc2.weight");
  CHECK(events[0].step == 1);
  CHECK(events[1].subject == "fc2.bias");
  CHECK(close(run.at(1, Quantity::kGradientNorm, "fc2.weight"), gradient));
  CHECK(std::isnan(run.at(1, Quantity::kActivationGradientNorm, "fc2")));  // Found out at the end of the step.
  CHECK(run.at(2, Quantity::kActivationGradientNorm, "fc2") > 0);
  CHECK(run.names(Axis::kActivation) == std::vector<std::string>{"fc1", "fc1:relu", "fc2"});
}

TEST_CASE("a module on the stack cannot be asked again: its replaced parameters are reported", "[hooks]") {
  TemporaryDirectory directory;
  PairImpl net;
  Monitor monitor(net, directory / "run.h5", every_step());
  net.fc2 = net.replace_module("fc2", torch::nn::Linear(5, 2));
  train_step(net, monitor);
  train_step(net, monitor);
  monitor.close();
  CHECK(monitor.status().error.empty());
  const Rows run(directory / "run.h5");
  const std::vector<Event> events = events_of(run, "replaced-parameter");
  REQUIRE(events.size() == 1);
  CHECK(events[0].subject == "fc2.weight");
  CHECK(std::isnan(run.at(1, Quantity::kGradientNorm, "fc2.weight")));
}

TEST_CASE("a member assigned past the registration is reported with the parameter that it replaces", "[hooks]") {
  TemporaryDirectory directory;
  Pair net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  net->fc2->weight = torch::randn({2, 5}).requires_grad_();
  train_step(*net, monitor);
  train_step(*net, monitor);
  monitor.close();
  const Rows run(directory / "run.h5");
  const std::vector<Event> events = events_of(run, "replaced-parameter");
  REQUIRE(events.size() == 1);
  CHECK(events[0].subject == "fc2.weight");
  CHECK(events[0].text.find("addmm") != std::string::npos);
  CHECK(run.at(0, Quantity::kActivationGradientNorm, "fc2") > 0);  // Its bias still tells the layer.
}

TEST_CASE("parameters registered after attaching are added", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net(torch::nn::Linear(4, 5), torch::nn::Tanh());
  Monitor monitor(*net, directory / "run.h5", every_step());
  train_step(*net, monitor);
  net->push_back(torch::nn::Linear(5, 3));
  train_step(*net, monitor);
  train_step(*net, monitor);
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(run.names(Axis::kParameter) == std::vector<std::string>{"0.weight", "0.bias", "2.weight", "2.bias"});
  CHECK(run.names(Axis::kActivation) == std::vector<std::string>{"0", "0:tanh", "2"});
  CHECK(events_of(run, "added-parameter").size() == 2);
  CHECK(run.at(1, Quantity::kGradientNorm, "2.weight") > 0);
  CHECK(run.at(2, Quantity::kActivationGradientNorm, "2") > 0);
}

TEST_CASE("a layer that was never registered is reported, another model's layers are not", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Linear fc1(4, 5), forgotten(5, 5), fc2(5, 3), critic(3, 1);
  const auto net = std::make_shared<torch::nn::Module>();
  net->register_module("fc1", fc1);
  net->register_module("fc2", fc2);
  Monitor monitor(*net, directory / "run.h5", every_step());
  for (int step = 0; step < 2; ++step) {
    const torch::Tensor input = torch::ones({3, 4}).requires_grad_();  // As a gradient penalty asks for.
    const torch::Tensor loss = critic(fc2(forgotten(fc1(input)).relu())).sum();
    loss.backward();
    monitor.step(loss);
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  const std::vector<Event> events = events_of(run, "unregistered-parameter");
  REQUIRE(events.size() == 1);
  CHECK(events[0].subject == "fc1");
  CHECK(events[0].text.find("5x5") != std::string::npos);
  CHECK(events_of(run, "replaced-parameter").empty());
  CHECK(run.names(Axis::kActivation) == std::vector<std::string>{"fc1", "fc2"});
}

TEST_CASE("an input whose gradient is asked for may come back deep in the model and is no stranger", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Linear fc1(4, 4), fc2(4, 3);
  const auto net = std::make_shared<torch::nn::Module>();
  net->register_module("fc1", fc1);
  net->register_module("fc2", fc2);
  Monitor monitor(*net, directory / "run.h5", every_step());
  const torch::Tensor input = torch::ones({3, 4}).requires_grad_();
  const torch::Tensor loss = fc2((fc1(input) + input).tanh()).sum();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(run.names(Axis::kActivation) == std::vector<std::string>{"fc1", "fc1:tanh", "fc2"});
  CHECK(run.rows[0].events.empty());
}

TEST_CASE("a frozen parameter is reported once, and again when it is frozen again", "[hooks]") {
  TemporaryDirectory directory;
  Pair net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  for (const bool frozen : {true, true, false, true}) {
    net->fc1->weight.requires_grad_(!frozen);
    if (frozen) net->fc1->weight.mutable_grad() = torch::Tensor();
    train_step(*net, monitor);
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  const std::vector<Event> events = events_of(run, "frozen-parameter");
  REQUIRE(events.size() == 2);
  CHECK(events[0].subject == "fc1.weight");
  CHECK(events[0].step == 0);
  CHECK(events[1].step == 3);
  CHECK(std::isnan(run.at(1, Quantity::kGradientNorm, "fc1.weight")));
  CHECK(run.at(2, Quantity::kGradientNorm, "fc1.weight") >= 0);
}

TEST_CASE("a penalty on the weights is no activation", "[hooks]") {
  TemporaryDirectory directory;
  Pair net;
  std::vector<torch::Tensor> before;
  for (const torch::Tensor& parameter : net->parameters()) before.push_back(parameter.detach().clone());
  Monitor monitor(*net, directory / "run.h5", every_step());
  torch::Tensor loss = net->forward(torch::ones({3, 4})).pow(2).mean();
  std::size_t i = 0;
  for (const torch::Tensor& parameter : net->parameters()) loss = loss + (parameter - before[i++]).pow(2).sum();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(run.names(Axis::kActivation) == std::vector<std::string>{"fc1", "fc1:relu", "fc2"});
}

TEST_CASE("of a script that optimises itself, parameter gradients are right and activation gradients not wrong",
          "[hooks]") {
  torch::manual_seed(32);
  TemporaryDirectory directory;
  const torch::Tensor w1 = torch::randn({4, 6}).requires_grad_();
  const torch::Tensor w2 = torch::randn({6, 2}).requires_grad_();
  torch::jit::Module script("net");
  script.register_parameter("w1", w1, false);
  script.register_parameter("w2", w2, false);
  script.define(R"(
    def forward(self, x):
        return torch.matmul(torch.tanh(torch.matmul(x, self.w1)), self.w2)
  )");
  const torch::Tensor input = torch::randn({3, 4});
  const torch::Tensor a = input.matmul(w1);
  const torch::Tensor b = a.tanh().matmul(w2);
  const auto gradients = torch::autograd::grad({b.pow(2).sum()}, {w1, w2, a, b});
  Monitor monitor({{"w1", w1}, {"w2", w2}}, directory / "run.h5", every_step());
  for (int step = 0; step < 4; ++step) {
    w1.mutable_grad() = w2.mutable_grad() = torch::Tensor();
    const torch::Tensor loss = script.forward({input}).toTensor().pow(2).sum();
    loss.backward();
    monitor.step(loss);
  }
  monitor.close();
  CHECK(monitor.status().error.empty());
  const Rows run(directory / "run.h5");
  REQUIRE(run.rows.size() == 4);
  for (std::size_t step = 0; step < 4; ++step) {
    CAPTURE(step);
    CHECK(close(run.at(step, Quantity::kGradientNorm, "w1"), norm_of(gradients[0])));
    CHECK(close(run.at(step, Quantity::kGradientNorm, "w2"), norm_of(gradients[1])));
    const std::vector<std::string> names = run.names(Axis::kActivation);
    for (std::size_t i = 0; i < 2; ++i) {
      const std::string name = i == 0 ? "w1" : "w2";
      if (std::find(names.begin(), names.end(), name) == names.end()) continue;
      const double recorded = run.at(step, Quantity::kActivationGradientNorm, name);
      CHECK((std::isnan(recorded) || close(recorded, norm_of(gradients[2 + i]))));
    }
  }
}
