// Passes without gradients between two steps.
#include <cmath>
#include <functional>
#include <optional>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/recorded_loop.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace nn = torch::nn;

nn::Sequential net_with_modes() {
  torch::manual_seed(6);
  return nn::Sequential(nn::Linear(4, 6), nn::BatchNorm1d(6), nn::ReLU(), nn::Dropout(0.5), nn::Linear(6, 2));
}

Rows train(nn::Sequential& net, const std::function<void()>& before_second_step,
           const std::function<torch::Tensor(const torch::Tensor&)>& forward) {
  torch::manual_seed(7);
  return record_steps(*net, 3, [&](int step) {
    if (step == 1) before_second_step();
    net->train();
    return forward(torch::randn({8, 4})).square().mean();
  });
}

Rows train(nn::Sequential& net, const std::function<void()>& before_second_step) {
  return train(net, before_second_step, [&](const torch::Tensor& x) { return net->forward(x); });
}

}  // namespace

TEST_CASE("a pass without gradients shows its input and its modes", "[hooks][evaluation]") {
  nn::Sequential net = net_with_modes();
  const torch::Tensor x = torch::randn({20, 4}) * 3 + 7;
  const bool forgets_mode = GENERATE(false, true);
  const bool inference = GENERATE(false, true);
  const Rows rows = train(net, [&] {
    net->train(forgets_mode);
    if (inference) {
      const c10::InferenceMode guard;
      net->forward(x);
    } else {
      const torch::NoGradGuard guard;
      net->forward(x);
    }
  });
  const StepRecord& row = rows.rows[1];
  CHECK(row.at(Quantity::kEvalSamples) == 20);
  CHECK_THAT(row.at(Quantity::kEvalInputMean), Catch::Matchers::WithinRel(x.mean().item<double>(), 1e-5));
  CHECK_THAT(row.at(Quantity::kEvalInputStd), Catch::Matchers::WithinRel(x.std(false).item<double>(), 1e-5));
  CHECK(row.at(Quantity::kEvalNormsTraining) == (forgets_mode ? 1 : 0));
  CHECK(row.at(Quantity::kEvalDropoutsTraining) == (forgets_mode ? 1 : 0));
  CHECK(row.at(Quantity::kNormsTraining) == 1);
  CHECK(row.at(Quantity::kBatchSize) == 8);
  CHECK(std::isnan(rows.rows[0].at(Quantity::kEvalSamples)));  // The update is none.
  CHECK(std::isnan(rows.rows[2].at(Quantity::kEvalSamples)));
}

TEST_CASE("of many passes a few are looked at", "[hooks][evaluation]") {
  nn::Sequential net = net_with_modes();
  const Rows rows = train(net, [&] {
    const torch::NoGradGuard guard;
    for (int i = 0; i < 50; ++i) net->forward(torch::randn({10, 4}));
  });
  CHECK(rows.rows[1].at(Quantity::kEvalSamples) == 40);
}

TEST_CASE("another model's passes and weight averages are none of this one", "[hooks][evaluation]") {
  nn::Sequential net = net_with_modes();
  nn::Sequential other = net_with_modes();
  const Rows rows = train(net, [&] {
    const torch::NoGradGuard guard;
    other->forward(torch::randn({10, 4}));
    for (std::size_t i = 0; i < net->parameters().size(); ++i)
      other->parameters()[i].mul_(0.9).add_(net->parameters()[i], 0.1);
  });
  CHECK(std::isnan(rows.rows[1].at(Quantity::kEvalSamples)));
}

namespace {

/// Forward without gradients, as checkpointing does; the derivative is not the point here.
struct Checkpoint : torch::autograd::Function<Checkpoint> {
  static torch::Tensor forward(torch::autograd::AutogradContext* context, const torch::Tensor& x, nn::Sequential net) {
    const torch::Tensor y = net->forward(x);
    context->save_for_backward({y});
    return y.clone();
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 const torch::autograd::variable_list& gradients) {
    return {torch::zeros({8, 4}) + gradients[0].sum(), torch::Tensor()};
  }
};

}  // namespace

TEST_CASE("a checkpoint's forward is no evaluation", "[hooks][evaluation]") {
  nn::Sequential net = net_with_modes();
  const Rows rows = train(
      net, [] {},
      [&](const torch::Tensor& x) {
        const torch::Tensor input = x.clone().requires_grad_();
        return Checkpoint::apply(input, net) + net->forward(x);
      });
  for (const StepRecord& row : rows.rows) CHECK(std::isnan(row.at(Quantity::kEvalSamples)));
}

TEST_CASE("evaluation passes, targets and inputs that are shown leave the weights as they are", "[hooks][evaluation]") {
  const auto weights = [](bool monitored) {
    TemporaryDirectory directory;
    nn::Sequential net = net_with_modes();
    torch::optim::Adam optimizer(net->parameters(), torch::optim::AdamOptions(0.01));
    std::optional<Monitor> monitor;
    if (monitored) monitor.emplace(*net, optimizer, directory / "run.h5", every_step());
    torch::manual_seed(8);
    for (int step = 0; step < 30; ++step) {
      {
        const torch::NoGradGuard guard;  // Dropout draws here, too: the generator is part of what must not change.
        net->forward(torch::randn({10, 4}));
      }
      optimizer.zero_grad();
      const torch::Tensor x = torch::randn({8, 4});
      const torch::Tensor y = torch::randint(2, {8});
      if (monitor) {
        monitor->input(x);
        monitor->target(y);
      }
      const torch::Tensor loss = torch::nll_loss(torch::softmax(net->forward(x), 1).log(), y);
      loss.backward();
      if (monitor) monitor->step(loss);
      optimizer.step();
    }
    if (monitor) {
      monitor->close();
      CHECK(monitor->status().error.empty());
      CHECK(monitor->status().recorded_steps == 30);
    }
    std::vector<torch::Tensor> state = net->parameters();
    for (const torch::Tensor& buffer : net->buffers()) state.push_back(buffer);
    state.push_back(torch::rand({1}));
    return state;
  };
  const std::vector<torch::Tensor> with = weights(true);
  const std::vector<torch::Tensor> without = weights(false);
  REQUIRE(with.size() == without.size());
  for (std::size_t i = 0; i < with.size(); ++i) CHECK(torch::equal(with[i], without[i]));
}
