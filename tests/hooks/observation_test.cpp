// What of a training's operators is looked at, and what is left for others to look at.
#include <cmath>
#include <map>
#include <memory>
#include <string>

#include <ATen/record_function.h>
#include <torch/torch.h>

#include "hooks/recorded_loop.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Axis;
using gradhealth::Quantity;

namespace {

std::map<std::string, int> seen;

std::unique_ptr<at::ObserverContext> count(const at::RecordFunction& function) {
  ++seen[function.name()];
  return nullptr;
}

/// How often each operator is shown to an observer of this thread, such as LibTorch's profiler, in three steps.
std::map<std::string, int> operators_shown(bool monitored) {
  seen.clear();
  torch::manual_seed(51);
  ConvNet net;
  const torch::Tensor input = torch::randn({4, 1, 8, 8});
  TemporaryDirectory directory;
  std::optional<gradhealth::Monitor> monitor;
  if (monitored) monitor.emplace(*net, directory / "run.h5", every_step());
  const at::CallbackHandle handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(&count).scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
  for (int step = 0; step < 3; ++step) {
    net->zero_grad();
    const torch::Tensor loss = net->forward(input).pow(2).mean();
    loss.backward();
    if (monitor) monitor->step(loss);
  }
  at::removeCallback(handle);
  return seen;
}

/// Checkpointing: the forward pass keeps nothing, and the backward pass computes it once more.
struct Recompute : torch::autograd::Function<Recompute> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x, ConvNet net) {
    context->save_for_backward({x});
    context->saved_data["net"] = reinterpret_cast<std::int64_t>(net.get());
    return net->forward(x);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const torch::Tensor x = context->get_saved_variables()[0].detach().requires_grad_();
    auto* net = reinterpret_cast<ConvNetImpl*>(context->saved_data["net"].toInt());
    const at::AutoGradMode with_gradients(true);
    torch::autograd::backward({net->forward(x)}, {gradients[0]});
    return {x.grad(), torch::Tensor()};
  }
};

Rows train(bool recomputes) {
  torch::manual_seed(52);
  ConvNet net;
  const torch::Tensor input = torch::randn({4, 1, 8, 8}).requires_grad_();
  return record_steps(*net, 3, [&](int) {
    return (recomputes ? Recompute::apply(input, net) : net->forward(input)).pow(2).mean();
  });
}

}  // namespace

TEST_CASE("another observer of the thread is shown what runs inside operators and nodes", "[hooks]") {
  const std::map<std::string, int> bare = operators_shown(false);
  const std::map<std::string, int> monitored = operators_shown(true);
  REQUIRE(bare.count("aten::convolution") == 1);           // Inside conv2d.
  REQUIRE(bare.count("aten::convolution_backward") == 1);  // Inside a node.
  for (const auto& [name, times] : bare) {
    CAPTURE(name);
    REQUIRE(monitored.count(name) == 1);
    CHECK(monitored.at(name) >= times);
  }
  CHECK(monitored.at("aten::convolution") == bare.at("aten::convolution"));
  CHECK(monitored.at("aten::convolution_backward") == bare.at("aten::convolution_backward"));
}

TEST_CASE("a forward pass that a node computes once more is recorded like the plain one", "[hooks]") {
  const Rows plain = train(false);
  const Rows recomputed = train(true);
  REQUIRE(recomputed.names(Axis::kActivation) == plain.names(Axis::kActivation));
  REQUIRE(recomputed.rows.size() == 3);
  for (const std::string& name : plain.names(Axis::kActivation)) {
    CAPTURE(name);
    for (std::size_t row = 0; row < 3; ++row)
      for (const Quantity quantity : {Quantity::kActivationRms, Quantity::kActivationGradientNorm}) {
        REQUIRE(plain.at(row, quantity, name) > 0);
        CHECK_THAT(recomputed.at(row, quantity, name),
                   Catch::Matchers::WithinRel(plain.at(row, quantity, name), 1e-5));
      }
  }
}
