#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <gradhealth/errors.h>

#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Axis;
using gradhealth::Event;
using gradhealth::Monitor;
using gradhealth::MonitorOptions;
using gradhealth::MonitorState;
using gradhealth::ProbeOptions;
using gradhealth::Quantity;
using torch::Tensor;

namespace {

ProbeOptions everything() {
  ProbeOptions options;
  options.singular_values = true;
  options.curvature = true;
  options.iterations = 3;
  return options;
}

MonitorOptions probing_every(std::int64_t steps) {
  MonitorOptions options = every_step();
  options.probe_every = steps;
  return options;
}

bool probed(const Rows& run, std::size_t row) {
  const std::vector<double>& norms = run.rows.at(row).values(Quantity::kJacobianNorm);
  return std::any_of(norms.begin(), norms.end(), [](double norm) { return !std::isnan(norm); });
}

std::vector<Event> probe_events(const Rows& run) {
  std::vector<Event> events;
  for (const gradhealth::StepRecord& row : run.rows)
    for (const Event& event : row.events)
      if (event.kind == "probe") events.push_back(event);
  return events;
}

Tensor random_state() { return at::globalContext().defaultGenerator(at::kCPU).get_state(); }

/// Trains a net with batch normalisation and dropout and returns its weights and buffers.
template <typename Optimizer, typename Options, typename Backward>
std::vector<Tensor> train(const Options& options, const std::filesystem::path* file, Backward&& backward) {
  torch::manual_seed(21);
  ConvNet net;
  net->dropout = 0.5;
  Optimizer optimizer(net->parameters(), options);
  std::unique_ptr<Monitor> monitor;
  if (file) monitor = std::make_unique<Monitor>(*net, optimizer, *file, probing_every(1));
  for (int step = 0; step < 100; ++step) {
    optimizer.zero_grad();
    const Tensor loss = torch::cross_entropy_loss(net->forward(torch::randn({4, 1, 8, 8})), torch::randint(3, {4}));
    backward(monitor.get(), loss);
    if (monitor) monitor->step(loss);
    optimizer.step();
  }
  if (monitor) {
    monitor->close();
    CHECK(monitor->status().state == MonitorState::kClosed);
  }
  std::vector<Tensor> tensors = net->parameters();
  for (const Tensor& buffer : net->buffers()) tensors.push_back(buffer);
  tensors.push_back(random_state());
  return tensors;
}

template <typename Optimizer, typename Options>
void check_bit_identical(const Options& options) {
  TemporaryDirectory directory;
  const std::filesystem::path file = directory / "run.h5";
  const std::vector<Tensor> plain =
      train<Optimizer>(options, nullptr, [](Monitor*, const Tensor& loss) { loss.backward(); });
  const std::vector<Tensor> with_probes = train<Optimizer>(
      options, &file, [](Monitor* monitor, const Tensor& loss) { monitor->backward(loss, everything()); });
  REQUIRE(plain.size() == with_probes.size());
  for (std::size_t i = 0; i < plain.size(); ++i) CHECK(torch::equal(plain[i], with_probes[i]));
  const Rows run(file);
  REQUIRE(run.rows.size() == 100);
  CHECK(probe_events(run).empty());
  for (const std::size_t row : {0u, 50u, 99u}) {
    CHECK(run.at(row, Quantity::kJacobianNorm, "conv1") > 0);
    CHECK(run.at(row, Quantity::kSpectralNorm, "fc2") > 0);
    CHECK(std::isfinite(run.rows[row].at(Quantity::kCurvature)));
  }
}

/// y = x², as a custom function.
struct Square : torch::autograd::Function<Square> {
  static Tensor forward(torch::autograd::AutogradContext* context, const Tensor& x) {
    context->save_for_backward({x});
    return x * x;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    ++calls;
    return {2 * context->get_saved_variables()[0] * gradients[0]};
  }
  static int calls;
};
int Square::calls = 0;

}  // namespace

TEST_CASE("weights, buffers and random state are bit-identical under all probes at every step, with SGD",
          "[hooks][probe]") {
  check_bit_identical<torch::optim::SGD>(torch::optim::SGDOptions(0.05).momentum(0.9));
}

TEST_CASE("weights, buffers and random state are bit-identical under all probes at every step, with Adam",
          "[hooks][probe]") {
  check_bit_identical<torch::optim::Adam>(torch::optim::AdamOptions(3e-3));
}

TEST_CASE("a probe by hand leaves gradients, retained gradients, hooks and random state alone", "[hooks][probe]") {
  torch::manual_seed(22);
  TemporaryDirectory directory;
  CustomNet net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  net->w1.mutable_grad() = torch::full_like(net->w1, 7);
  const Tensor x = torch::randn({6, 5}).requires_grad_();
  const Tensor scaled = x * 2;
  scaled.retain_grad();
  Tensor output = net->forward(scaled);
  output.retain_grad();
  int hook_calls = 0;
  output.register_hook([&](const Tensor&) { ++hook_calls; });
  net->w1.register_hook([&](const Tensor&) { ++hook_calls; });
  const Tensor loss = output.square().mean();
  const Tensor state = random_state();

  monitor.probe(output, {});
  monitor.backward(loss, {});
  // backward() found the step probed already: what its hooks counted is the training's.
  CHECK(hook_calls == 2);
  hook_calls = 0;
  const Tensor expected_output = output.grad().clone();
  const Tensor expected_scaled = scaled.grad().clone();
  monitor.step(loss);
  CHECK(torch::equal(state, random_state()));

  x.mutable_grad().reset();
  net->w2.mutable_grad().reset();
  net->w1.mutable_grad() = torch::full_like(net->w1, 7);
  const Tensor second_scaled = x * 2;
  second_scaled.retain_grad();
  Tensor second = net->forward(second_scaled);
  second.retain_grad();
  second.register_hook([&](const Tensor&) { ++hook_calls; });
  const Tensor second_loss = second.square().mean();
  monitor.probe(second, {});
  ProbeOptions everything_but_the_loss = everything();
  everything_but_the_loss.curvature = false;
  monitor.probe(second, everything_but_the_loss);
  CHECK(hook_calls == 0);
  CHECK_FALSE(second.grad().defined());
  CHECK_FALSE(second_scaled.grad().defined());
  CHECK_FALSE(x.grad().defined());
  CHECK_FALSE(net->w2.grad().defined());
  CHECK(torch::equal(net->w1.grad(), torch::full_like(net->w1, 7)));
  second_loss.backward();
  CHECK(hook_calls == 2);
  CHECK(torch::equal(second.grad(), expected_output));
  CHECK(torch::equal(second_scaled.grad(), expected_scaled));
  monitor.step(second_loss);
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(probed(run, 0));
  CHECK(run.at(1, Quantity::kSpectralNorm, "w2") > 0);
  CHECK(probe_events(run).empty());
}

TEST_CASE("hooks on parameters are not called by the curvature probe", "[hooks][probe]") {
  torch::manual_seed(23);
  TemporaryDirectory directory;
  CustomNet net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  int calls = 0;
  net->w1.register_hook([&](const Tensor&) { ++calls; });
  const Tensor loss = net->forward(torch::randn({6, 5})).square().mean();
  monitor.backward(loss, everything());
  CHECK(calls == 1);
  monitor.step(loss);
  monitor.close();
  CHECK(std::isfinite(Rows(directory / "run.h5").rows.at(0).at(Quantity::kCurvature)));
}

TEST_CASE("probes come every so many recorded steps, through backward() only", "[hooks][probe]") {
  torch::manual_seed(24);
  const auto run_with = [](std::int64_t probe_every, bool through_monitor) {
    TemporaryDirectory directory;
    torch::nn::Linear net(4, 3);
    Monitor monitor(*net, directory / "run.h5", probing_every(probe_every));
    for (int step = 0; step < 9; ++step) {
      const Tensor loss = net->forward(torch::randn({5, 4})).square().mean();
      if (through_monitor)
        monitor.backward(loss);
      else
        loss.backward();
      monitor.step(loss);
    }
    monitor.close();
    return Rows(directory / "run.h5");
  };
  const Rows every_third = run_with(3, true);
  const Rows never = run_with(0, true);
  const Rows plain = run_with(1, false);
  REQUIRE(every_third.rows.size() == 9);
  for (std::size_t row = 0; row < 9; ++row) {
    CAPTURE(row);
    CHECK(probed(every_third, row) == (row % 3 == 0));
    CHECK_FALSE(probed(never, row));
    CHECK_FALSE(probed(plain, row));
  }
  TemporaryDirectory directory;
  torch::nn::Linear net(4, 3);
  CHECK_THROWS_AS(Monitor(*net, directory / "run.h5", probing_every(-1)), gradhealth::UsageError);
}

TEST_CASE("of the backward passes of one step the first one is probed", "[hooks][probe]") {
  const auto norms = [](int micro_batches) {
    torch::manual_seed(25);
    TemporaryDirectory directory;
    CustomNet net;
    Monitor monitor(*net, directory / "run.h5", every_step());
    Tensor loss;
    for (int i = 0; i < micro_batches; ++i) {
      loss = net->forward(torch::randn({6, 5}) * (i + 1)).square().mean();
      monitor.backward(loss);
    }
    monitor.step(loss);
    monitor.close();
    const Rows run(directory / "run.h5");
    return std::vector<double>{run.at(0, Quantity::kJacobianNorm, "w1"),
                               run.at(0, Quantity::kGradientScaleCoefficient, "w1"),
                               run.rows[0].at(Quantity::kNonlinearityCoefficient)};
  };
  const std::vector<double> one = norms(1);
  CHECK(one[0] > 0);
  CHECK(one[2] > 0);
  CHECK(norms(3) == one);
}

TEST_CASE("probes count as the monitor's own time", "[hooks][probe]") {
  TemporaryDirectory directory;
  CustomNet net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  const Tensor output = net->forward(torch::randn({6, 5}));
  const double before = monitor.status().own_seconds;
  monitor.probe(output);
  CHECK(monitor.status().own_seconds > before);
}

TEST_CASE("what cannot be probed is told once and harms nothing", "[hooks][probe]") {
  torch::manual_seed(26);
  TemporaryDirectory directory;
  torch::nn::Functional square([](const Tensor& x) { return Square::apply(x); });
  torch::nn::Sequential net(torch::nn::Linear(4, 6), square, torch::nn::Linear(6, 2));
  Monitor monitor(*net, directory / "run.h5", probing_every(1));
  Square::calls = 0;
  for (int step = 0; step < 3; ++step) {
    const Tensor loss = net->forward(torch::randn({5, 4})).square().mean();
    monitor.backward(loss, everything());
    monitor.step(loss);
  }
  CHECK(Square::calls == 3);
  // Not of this model; no graph; a graph that is gone.
  const Tensor foreign = torch::ones({3, 2}).requires_grad_() * 2;
  monitor.probe(foreign);
  monitor.probe(torch::ones({3, 2}));
  monitor.probe(Tensor());
  const Tensor used =
      net[2]->as<torch::nn::Linear>()->forward(net[0]->as<torch::nn::Linear>()->forward(torch::randn({5, 4})).tanh());
  used.sum().backward();
  monitor.probe(used, everything());
  monitor.step(used.sum());
  CHECK(monitor.status().state == MonitorState::kRecording);
  monitor.close();
  const Rows run(directory / "run.h5");
  const std::vector<Event> events = probe_events(run);
  const auto told = [&](const std::string& text) {
    return std::count_if(events.begin(), events.end(),
                         [&](const Event& event) { return event.text.find(text) != std::string::npos; });
  };
  CHECK(told("custom code") == 1);
  CHECK(told("no recorded layer") == 1);
  CHECK(told("no gradient graph") == 1);
  CHECK(told("Jacobian probe failed") == 1);
  CHECK(told("curvature") == 1);
  for (std::size_t row = 0; row < run.rows.size(); ++row) CHECK_FALSE(probed(run, row));
}

TEST_CASE("an operator without second derivative costs its own singular value only", "[hooks][probe]") {
  torch::manual_seed(27);
  TemporaryDirectory directory;
  torch::nn::Linear first(4, 5), second(2, 2);
  torch::nn::Sequential net(first, second);
  Monitor monitor(*net, directory / "run.h5", probing_every(1));
  const Tensor targets = torch::tensor({1, 2, 1, 3}).reshape({2, 2});
  const Tensor input_lengths = torch::tensor({8, 8}), target_lengths = torch::tensor({2, 2});
  for (int step = 0; step < 2; ++step) {
    const Tensor hidden = torch::tanh(first(torch::randn({8, 2, 4})));
    // One of the few losses that even LibTorch 2.14 differentiates only once.
    const Tensor costs = torch::ctc_loss(hidden.log_softmax(2), targets, input_lengths, target_lengths, 0, 0);
    const Tensor output = second(costs.unsqueeze(0));
    const Tensor loss = output.square().mean();
    monitor.backward(loss, everything());
    monitor.step(loss);
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  CHECK(run.at(1, Quantity::kJacobianNorm, "0") > 0);
  CHECK(run.at(1, Quantity::kSpectralNorm, "0:tanh") > 0);
  CHECK(std::isnan(run.at(1, Quantity::kSpectralNorm, "1")));
  const std::vector<Event> events = probe_events(run);
  const auto of_block = std::count_if(events.begin(), events.end(), [](const Event& e) { return e.subject == "1"; });
  CHECK(of_block == 1);
}

TEST_CASE("backward() throws what the loss's own does and nothing else", "[hooks][probe]") {
  TemporaryDirectory directory;
  torch::nn::Linear net(4, 3);
  Monitor monitor(*net, directory / "run.h5", probing_every(1));
  const Tensor loss = net->forward(torch::randn({5, 4})).square().mean();
  monitor.backward(loss);
  CHECK_THROWS_AS(monitor.backward(loss), c10::Error);
  CHECK_THROWS_AS(monitor.backward(torch::ones({})), c10::Error);
  monitor.step(loss);
  CHECK(monitor.status().state == MonitorState::kRecording);
  monitor.close();
  CHECK_THROWS_AS(monitor.backward(torch::ones({})), c10::Error);
}
