// The first non-finite value of a run is traced to the operator, input or parameter that it came from.
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <sstream>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/origin_events.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Monitor;
using gradhealth::MonitorOptions;
using torch::Tensor;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int kFaultStep = 3;

/// Three healthy steps, then one whose loss is `faulty`'s.
Told train(const std::function<Tensor(TwoLayers&, const Tensor&)>& faulty) {
  torch::manual_seed(1);
  TemporaryDirectory directory;
  TwoLayers net;
  Monitor monitor(*net, directory / "run.h5", every_step());
  for (int step = 0; step <= kFaultStep; ++step) {
    net->zero_grad();
    const Tensor x = torch::randn({8, 4});
    const Tensor loss = step == kFaultStep ? faulty(net, x) : net->forward(x).sum();
    loss.backward();
    monitor.step(loss);
  }
  monitor.close();
  CHECK(monitor.status().error.empty());
  return Told(directory / "run.h5");
}

void check_operator(const Told& told, const std::string& op, const std::string& place, const std::string& pass) {
  REQUIRE(told.origins.size() == 1);
  const Fields& origin = told.origins.front();
  INFO(origin.text);
  CHECK(origin.step == kFaultStep);
  CHECK(origin["source"] == "operator");
  CHECK(origin["op"] == op);
  CHECK(origin["place"] == place);
  CHECK(origin["pass"] == pass);
  CHECK(origin["step"] == std::to_string(kFaultStep));
  CHECK(origin["how"] == "traced");
  CHECK(Extent(origin["output"]).nonfinite > 0);
}

}  // namespace

TEST_CASE("log of zero is named, with the zero that entered it and the operators before", "[hooks]") {
  Tensor before;
  const Told told = train([&](TwoLayers& net, const Tensor& x) {
    before = torch::relu(net->fc1(x));
    return net->fc2(torch::log(before)).sum();
  });
  check_operator(told, "log", "after:fc1", "forward");
  const Fields& origin = told.origins.front();
  CHECK(origin.subject == "fc1");
  const Extent input(origin["input"]);
  CHECK(input.shape == "8x6");
  CHECK(input.dtype == "float32");
  CHECK(input.min == 0);
  CHECK(std::fabs(input.max - before.max().item<double>()) < 1e-5 * input.max);
  CHECK(input.nonfinite == 0);
  const Extent output(origin["output"]);
  CHECK(output.nonfinite == (before == 0).sum().item<std::int64_t>());
  CHECK(output.nan == 0);
  CHECK(output.count == 48);
  REQUIRE(told.before.size() == 2);
  CHECK(told.before[0]["op"] == "addmm");
  CHECK(told.before[0]["place"] == "in:fc1");
  CHECK(told.before[0]["order"] == "-2");
  CHECK(told.before[1]["op"] == "relu");
  CHECK(told.before[1]["output"] == origin["input"]);
}

TEST_CASE("the derivative of sqrt at zero is named as born in the backward pass", "[hooks]") {
  const Told told = train([](TwoLayers& net, const Tensor& x) {
    const Tensor h = net->fc1(x);
    const Tensor zero = h - h.detach();
    return torch::sqrt(zero * zero).sum();
  });
  check_operator(told, "sqrt", "after:fc1", "backward");
  const Fields& origin = told.origins.front();
  CHECK(origin["node"] == "SqrtBackward0");
  CHECK(Extent(origin["input"]).nonfinite == 0);
  CHECK(Extent(origin["forward_input"]).max == 0);
  REQUIRE_FALSE(told.before.empty());
  CHECK(told.before.back()["op"] == "sum");
  CHECK(told.before.back()["pass"] == "backward");
}

TEST_CASE("an infinite derivative that a relu stops before the parameters is no fault", "[hooks]") {
  const Told told = train([](TwoLayers& net, const Tensor& x) { return torch::sqrt(torch::relu(net->fc1(x))).sum(); });
  CHECK(told.origins.empty());
}

TEST_CASE("zero by zero is named as the division", "[hooks]") {
  const Told told = train([](TwoLayers& net, const Tensor& x) {
    const Tensor h = net->fc1(x) * 0;
    return net->fc2(h / h).sum();
  });
  check_operator(told, "div", "after:fc1", "forward");
  CHECK(Extent(told.origins.front()["output"]).nan == 48);
}

TEST_CASE("an overflow of exp is named, in place too", "[hooks]") {
  check_operator(
      train([](TwoLayers& net, const Tensor& x) { return net->fc2(torch::exp(net->fc1(x).abs() * 1e4)).sum(); }), "exp",
      "after:fc1", "forward");
  check_operator(train([](TwoLayers& net, const Tensor& x) {
                   Tensor h = net->fc1(x).abs() * 1e4;
                   h.exp_();
                   return net->fc2(h).sum();
                 }),
                 "exp", "after:fc1", "forward");
}

TEST_CASE("a NaN in the data is told with its sample and feature", "[hooks]") {
  const Told told = train([](TwoLayers& net, const Tensor& x) {
    x.select(0, 5).select(0, 2).fill_(kNan);
    return net->forward(x).sum();
  });
  REQUIRE(told.origins.size() == 1);
  const Fields& origin = told.origins.front();
  CHECK(origin["source"] == "input");
  CHECK(origin["sample"] == "5");
  CHECK(origin["position"] == "2");
  CHECK(origin.subject == "feature 2");
  CHECK(origin["op"] == "addmm");
  CHECK(origin["place"] == "in:fc1");
}

TEST_CASE("zero times infinity behind where is named as born in the backward pass", "[hooks]") {
  const Told told = train([](TwoLayers& net, const Tensor& x) {
    const Tensor h = net->fc1(x);
    const Tensor zero = h - h.detach();
    return torch::where(zero > 0, torch::sqrt(zero), zero).sum();
  });
  check_operator(told, "sqrt", "after:fc1", "backward");
  CHECK(Extent(told.origins.front()["output"]).nan > 0);
}

TEST_CASE("a NaN that where keeps from the loss but not from the gradients is named in the forward pass", "[hooks]") {
  const Told told = train([](TwoLayers& net, const Tensor& x) {
    const Tensor h = net->fc1(x) * 0;
    return torch::where(h == 0, torch::ones_like(h), h / h).sum();
  });
  check_operator(told, "div", "after:fc1", "forward");
}

TEST_CASE("an overflow of half precision is named as the conversion", "[hooks]") {
  const Told told = train([](TwoLayers& net, const Tensor& x) {
    return (net->fc1(x) * 1e6).to(torch::kHalf).to(torch::kFloat).pow(2).mean();
  });
  check_operator(told, "to", "after:fc1", "forward");
  const Extent output(told.origins.front()["output"]);
  CHECK(output.dtype == "float16");
  CHECK(Extent(told.origins.front()["input"]).max > 65504);
  CHECK(output.max <= 65504);
}

TEST_CASE("a parameter that was NaN before the step is the origin", "[hooks]") {
  const Told told = train([](TwoLayers& net, const Tensor& x) {
    {
      const torch::NoGradGuard no_grad;
      net->fc2->weight.index_put_({0, 1}, kNan);
      net->fc2->bias.fill_(kNan);
    }
    return net->forward(x).sum();
  });
  REQUIRE(told.origins.size() == 1);
  const Fields& origin = told.origins.front();
  CHECK(origin["source"] == "parameter");
  CHECK((origin.subject == "fc2.weight" || origin.subject == "fc2.bias"));
  CHECK(origin["more_parameters"] == "1");
  CHECK(origin["place"] == "in:fc2");
}

TEST_CASE("masks of minus infinity before a softmax are healthy", "[hooks]") {
  const auto mask = [] { return torch::ones({8, 6}, torch::kBool).triu(1); };
  CHECK(train([&](TwoLayers& net, const Tensor& x) {
          return net->fc2(torch::softmax(net->fc1(x).masked_fill(mask(), -kInf), 1)).sum();
        }).origins.empty());
  CHECK(train([&](TwoLayers& net, const Tensor& x) {
          const Tensor added = torch::zeros({8, 6}).masked_fill(mask(), -kInf);
          return net->fc2(torch::softmax(net->fc1(x) + added, 1)).sum();
        }).origins.empty());
}

TEST_CASE("a row that is masked entirely is told as the softmax's, not the mask's", "[hooks]") {
  const Told told = train([](TwoLayers& net, const Tensor& x) {
    Tensor mask = torch::zeros({8, 6}, torch::kBool);
    mask[4].fill_(true);
    return net->fc2(torch::softmax(net->fc1(x).masked_fill(mask, -kInf), 1)).sum();
  });
  check_operator(told, "softmax", "after:fc1", "forward");
  CHECK(Extent(told.origins.front()["output"]).nan == 6);
}

TEST_CASE("a fault is told past a healthy mask before it", "[hooks]") {
  const Told told = train([](TwoLayers& net, const Tensor& x) {
    const Tensor h = net->fc1(x);
    const Tensor mask = torch::ones({8, 6}, torch::kBool).triu(1);
    const Tensor zero = h - h.detach();
    return torch::softmax(h.masked_fill(mask, -kInf), 1).sum() + torch::sqrt(zero * zero).sum();
  });
  check_operator(told, "sqrt", "after:fc1", "backward");
}

TEST_CASE("log of a softmax that underflows is named as the log", "[hooks]") {
  const Told told = train(
      [](TwoLayers& net, const Tensor& x) { return -torch::log(torch::softmax(net->forward(x) * 1e4, 1)).mean(); });
  check_operator(told, "log", "after:fc2", "forward");
  REQUIRE_FALSE(told.before.empty());
  CHECK(told.before.back()["op"] == "softmax");
}

TEST_CASE("infinity minus infinity is told as the overflow, with where it became NaN", "[hooks]") {
  const Told overflow = train([](TwoLayers& net, const Tensor& x) {
    const Tensor h = torch::exp(net->fc1(x).abs() * 1e6 + 100);
    return net->fc2(h - h * 2).sum();
  });
  check_operator(overflow, "exp", "after:fc1", "forward");
  CHECK(overflow.origins.front()["nan_at"] == "sub@after:fc1");
  const Told written = train([](TwoLayers& net, const Tensor& x) {
    const Tensor h = net->fc1(x).masked_fill(torch::ones({8, 6}, torch::kBool), kInf);
    return net->fc2(h - h).sum();
  });
  check_operator(written, "sub", "after:fc1", "forward");
}

TEST_CASE("an operator that consists of others is told by its own name", "[hooks]") {
  check_operator(train([](TwoLayers& net, const Tensor& x) {
                   return torch::mse_loss(net->forward(x) * 1e30, torch::zeros({8, 3}));
                 }),
                 "mse_loss", "after:fc2", "forward");
}

TEST_CASE("slices, and writing into them, do not hide an origin", "[hooks]") {
  check_operator(train([](TwoLayers& net, const Tensor& x) {
                   const std::vector<Tensor> halves = torch::relu(net->fc1(x)).chunk(2, 1);
                   return torch::log(halves[0]).sum() + halves[1].sum();
                 }),
                 "log", "after:fc1", "forward");
  check_operator(train([](TwoLayers& net, const Tensor& x) {
                   Tensor h = net->fc1(x) * 1;
                   h.slice(1, 0, 2).mul_(0).log_();
                   return net->fc2(h).sum();
                 }),
                 "log", "after:fc1", "forward");
}
