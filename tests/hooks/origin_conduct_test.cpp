// When steps are traced or replayed, and that neither is felt by the training.
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/origin_events.h"
#include "hooks/statistics/tensor_extremes.h"
#include "hooks/torch_compat.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Monitor;
using gradhealth::MonitorOptions;
using gradhealth::OriginSearch;
using torch::Tensor;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int kLateFault = 33;  // Neither one of the first steps nor a recorded one.

MonitorOptions default_schedule() {
  MonitorOptions options;
  options.messages = gradhealth::Messages::kNone;
  options.budget = 0;
  return options;
}

struct Trained {
  std::vector<Tensor> state;  ///< Parameters, gradients, buffers, and what the generator draws next.
  std::optional<Told> told;
};

/// A network with batch normalisation and dropout whose loss takes the log of zeros at one step; such steps are not
/// applied.
Trained train(const std::optional<MonitorOptions>& options, bool replay, bool drops_gradients = false) {
  torch::manual_seed(5);
  TemporaryDirectory directory;
  ConvNet net;
  net->dropout = 0.4;
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
  std::optional<Monitor> monitor;
  if (options) monitor.emplace(*net, optimizer, directory / "run.h5", *options);
  for (int step = 0; step < 40; ++step) {
    if (drops_gradients)
      for (Tensor& parameter : net->parameters()) parameter.mutable_grad() = Tensor();
    else
      optimizer.zero_grad();
    const Tensor x = torch::randn({8, 1, 8, 8});
    const Tensor target = torch::randint(3, {8});
    const auto loss_of = [net, x, target, step]() mutable {
      const Tensor out = net->forward(x);
      if (step == kLateFault) return torch::log(torch::relu(out)).sum();
      return torch::cross_entropy_loss(out, target);
    };
    if (monitor && replay) monitor->replay(loss_of);
    const Tensor loss = std::function<Tensor()>(loss_of)();
    loss.backward();
    if (monitor && options->step == gradhealth::StepMode::kExplicit) monitor->step(loss);
    if (std::isfinite(loss.item<float>())) optimizer.step();
  }
  Trained trained;
  for (const Tensor& parameter : net->parameters()) {
    trained.state.push_back(parameter);
    trained.state.push_back(parameter.grad());
  }
  for (const Tensor& buffer : net->buffers()) trained.state.push_back(buffer);
  trained.state.push_back(torch::randn({4}));
  if (monitor) {
    monitor->close();
    CHECK(monitor->status().error.empty());
    trained.told.emplace(directory / "run.h5");
  }
  return trained;
}

void check_identical(const Trained& a, const Trained& b) {
  REQUIRE(a.state.size() == b.state.size());
  for (std::size_t i = 0; i < a.state.size(); ++i) CHECK(torch::equal(a.state[i], b.state[i]));
}

}  // namespace

TEST_CASE("a step that was not traced is replayed, and the training does not feel it", "[hooks]") {
  MonitorOptions options = default_schedule();
  options.step = GENERATE(gradhealth::StepMode::kExplicit, gradhealth::StepMode::kAutomatic);
  // Where gradients are dropped, an automatic step that had no update ends within the next step's first operator.
  const bool drops_gradients = GENERATE(false, true);
  const Trained replayed = train(options, true, drops_gradients);
  check_identical(train(std::nullopt, false, drops_gradients), replayed);
  REQUIRE(replayed.told->origins.size() == 1);
  const Fields& origin = replayed.told->origins.front();
  INFO(origin.text);
  CHECK(origin.step == kLateFault);
  CHECK(origin["how"] == "replayed");
  CHECK(origin["source"] == "operator");
  CHECK(origin["op"] == "log");
  CHECK(origin["place"] == "after:fc2");
}

TEST_CASE("tracing every recorded step leaves weights, buffers and random numbers as they were", "[hooks]") {
  MonitorOptions options = every_step();
  options.origin = OriginSearch::kRecordedSteps;
  const Trained traced = train(options, false);
  check_identical(train(std::nullopt, false), traced);
  REQUIRE(traced.told->origins.size() == 1);
  CHECK(traced.told->origins.front()["how"] == "traced");
}

TEST_CASE("with no search asked for, none is made", "[hooks]") {
  MonitorOptions options = every_step();
  options.origin = OriginSearch::kNever;
  CHECK(train(options, true).told->origins.empty());
}

TEST_CASE("a replay draws the random numbers that its step drew", "[hooks]") {
  TemporaryDirectory directory;
  TwoLayers net;
  Monitor monitor(*net, directory / "run.h5", default_schedule());
  Tensor drawn;
  Tensor again;
  for (int step = 0; step <= 25; ++step) {
    const Tensor x = torch::randn({8, 4});
    const auto loss_of = [&net, &x, step](Tensor& noise) {
      noise = torch::rand({8, 3});
      return (net->forward(x) * noise).sum() * (step == 25 ? kNan : 1.0f);
    };
    monitor.replay([&] { return loss_of(again); });
    const Tensor loss = loss_of(drawn);
    loss.backward();
    monitor.step(loss);
  }
  monitor.replay({});
  REQUIRE(again.defined());
  CHECK(torch::equal(drawn, again));
}

TEST_CASE("a closure that throws is an event and nothing more", "[hooks]") {
  TemporaryDirectory directory;
  TwoLayers net;
  Monitor monitor(*net, directory / "run.h5", default_schedule());
  monitor.replay([]() -> Tensor { throw std::runtime_error("no batch left"); });
  for (int step = 0; step <= 25; ++step) {
    const Tensor loss = net->forward(torch::ones({2, 4})).sum() * (step == 25 ? kNan : 1.0f);
    loss.backward();
    monitor.step(loss);
  }
  monitor.close();
  CHECK(monitor.status().error.empty());
  const Told told(directory / "run.h5");
  REQUIRE(told.replays.size() == 1);
  CHECK(told.replays.front().text.find("no batch left") != std::string::npos);
  REQUIRE(told.origins.size() == 1);
  CHECK(told.origins.front()["source"] == "unknown");
}

TEST_CASE("the first steps after a checkpoint are traced as those of a new training are", "[hooks]") {
  TemporaryDirectory directory;
  TwoLayers net;
  MonitorOptions options = default_schedule();
  options.first_step = 5000;
  Monitor monitor(*net, directory / "run.h5", options);
  for (int step = 0; step < 6; ++step) {
    net->zero_grad();
    const Tensor out = net->forward(torch::ones({8, 4}));
    const Tensor loss = step == 3 ? torch::log(torch::relu(-out.abs())).sum() : out.pow(2).mean();
    loss.backward();
    monitor.step(loss);
  }
  monitor.close();
  const Told told(directory / "run.h5");
  REQUIRE_FALSE(told.origins.empty());
  CHECK(told.origins.front()["op"] == "log");
  CHECK(told.origins.front()["how"] == "traced");
  CHECK(told.origins.front().step == 5003);
}

TEST_CASE("without a replay, the next step tells which parameters were no numbers any more", "[hooks]") {
  TemporaryDirectory directory;
  TwoLayers net;
  torch::optim::SGD optimizer(net->parameters(), 0.1);
  Monitor monitor(*net, optimizer, directory / "run.h5", default_schedule());
  for (int step = 0; step < 40; ++step) {
    optimizer.zero_grad();
    const Tensor loss = net->forward(torch::ones({2, 4})).sum() * (step == kLateFault ? kNan : 1.0f);
    loss.backward();
    monitor.step(loss);
    optimizer.step();
  }
  monitor.close();
  const Told told(directory / "run.h5");
  REQUIRE(told.origins.size() == 1);
  const Fields& origin = told.origins.front();
  INFO(origin.text);
  CHECK(origin.step == kLateFault + 1);
  CHECK(origin["how"] == "late");
  CHECK(origin["since"] == std::to_string(kLateFault));
  CHECK(origin["source"] == "parameter");
  CHECK(origin["more_parameters"] == "3");
}

TEST_CASE("a bad micro-batch is traced though step() is given the loss of a good one", "[hooks]") {
  TemporaryDirectory directory;
  TwoLayers net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  const Tensor x = torch::randn({8, 4});
  torch::sqrt(net->fc1(x) * 0 - 1).sum().backward();
  const Tensor loss = net->forward(x).sum();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  const Told told(directory / "run.h5");
  REQUIRE(told.origins.size() == 1);
  CHECK(told.origins.front()["op"] == "sqrt");
  CHECK(told.origins.front()["pass"] == "forward");
}

TEST_CASE("another model's NaN in the same process is not this one's", "[hooks]") {
  TemporaryDirectory directory;
  TwoLayers net;
  TwoLayers other;
  Monitor monitor(*net, directory / "run.h5", every_step());
  torch::log(other->forward(torch::randn({8, 4})) * 0 - 1).sum().backward();
  const Tensor loss = net->forward(torch::randn({8, 4})).sum();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  CHECK(Told(directory / "run.h5").origins.empty());
}

TEST_CASE("a replay is hidden from the monitors of other models that take part in it", "[hooks]") {
  TemporaryDirectory directory;
  TwoLayers first;
  torch::nn::Sequential second(torch::nn::Linear(3, 2));
  Monitor a(*first, directory / "a.h5", default_schedule());
  Monitor b(*second, directory / "b.h5", every_step());
  const Tensor x = torch::ones({2, 4});
  float factor = 1;
  const auto loss_of = [&] { return second->forward(first->forward(x)).sum() * factor; };
  a.replay(loss_of);
  for (int step = 0; step <= 25; ++step) {
    if (step == 25) factor = kNan;
    const Tensor loss = loss_of();
    loss.backward();
    a.step(loss);
    b.step(loss);
  }
  a.close();
  b.close();
  CHECK(Told(directory / "a.h5").origins.size() == 1);
  const Rows rows(directory / "b.h5");
  CHECK(rows.names(gradhealth::Axis::kActivation) == std::vector<std::string>{"0"});
  CHECK(rows.rows[25].at(gradhealth::Quantity::kBatchSize) == 2);
}

TEST_CASE("a custom autograd function is the origin of what it makes", "[hooks]") {
  struct Reciprocal : torch::autograd::Function<Reciprocal> {
    static Tensor forward(torch::autograd::AutogradContext*, const Tensor& x) { return 1 / x; }
    static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                   torch::autograd::variable_list gradients) {
      return gradients;
    }
  };
  TemporaryDirectory directory;
  TwoLayers net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  const Tensor loss = net->fc2(Reciprocal::apply(net->fc1(torch::randn({8, 4})) * 0)).sum();
  loss.backward();
  monitor.step(loss);
  monitor.close();
  const Told told(directory / "run.h5");
  REQUIRE(told.origins.size() == 1);
  CHECK(told.origins.front()["source"] == "operator");
  CHECK(told.origins.front()["op"].find("Reciprocal") != std::string::npos);
  CHECK(Extent(told.origins.front()["input"]).max == 0);
}

TEST_CASE("an origin is told at most three times a run and once for a row of bad steps", "[hooks]") {
  TemporaryDirectory directory;
  TwoLayers net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  for (int step = 0; step < 16; ++step) {
    const bool bad = step % 4 >= 2;
    const Tensor loss = torch::log(net->forward(torch::ones({2, 4})).pow(2) * (bad ? 0 : 1)).sum();
    net->zero_grad();
    loss.backward();
    monitor.step(loss);
  }
  monitor.close();
  const Told told(directory / "run.h5");
  REQUIRE(told.origins.size() == 3);
  CHECK(told.origins[0].step == 2);
  CHECK(told.origins[1].step == 6);
  CHECK(told.origins[2].step == 10);
}

TEST_CASE("tracing keeps no graph and no memory of the step", "[hooks]") {
  TemporaryDirectory directory;
  TwoLayers net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  gradhealth::hooks::WeakNode node;
  c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl> weak(torch::ones({1}).getIntrusivePtr());
  {
    const Tensor hidden = net->fc1(torch::ones({2, 4}));
    const Tensor loss = net->fc2(hidden).sum();
    node = loss.grad_fn();
    weak = decltype(weak)(hidden.getIntrusivePtr());
    loss.backward();
  }
  CHECK(node.expired());
  CHECK(weak.expired());
}

TEST_CASE("extremes pass over what is not finite and count it", "[hooks]") {
  torch::manual_seed(3);
  const float inf = std::numeric_limits<float>::infinity();
  for (const auto type : {torch::kFloat, torch::kDouble, torch::kHalf, torch::kBFloat16}) {
    for (const std::int64_t size : {1, 7, 4096, 10'001}) {
      Tensor values = torch::randn({size}).to(type);
      for (int bad = 0; bad < 2; ++bad) {
        const auto found = gradhealth::hooks::tensor_extremes(values).values;
        const auto expected = gradhealth::hooks::extremes_by_operators(values);
        CHECK(found.count == size);
        CHECK(found.nonfinite == expected.nonfinite);
        CHECK(found.nan == expected.nan);
        CHECK(found.min == expected.min);
        CHECK(found.max == expected.max);
        if (bad == 0) CHECK(found.max == values.to(torch::kDouble).max().item<double>());
        if (bad == 1) CHECK(found.nonfinite == (size == 1 ? 1 : 2));
        values[0] = inf;
        values[size - 1] = kNan;
      }
    }
  }
  const Tensor strided = torch::arange(20, torch::kFloat).reshape({4, 5}).slice(1, 1, 3);
  CHECK(gradhealth::hooks::text(gradhealth::hooks::tensor_extremes(strided)) == "4x2:float32:1:17:0:0:8");
  CHECK(gradhealth::hooks::text(gradhealth::hooks::tensor_extremes(torch::tensor(kNan))) == "scalar:float32:-:-:1:1:1");
}
