// Loops as they are found in trainers: several models, optimizers and passes.
#include <cmath>
#include <functional>
#include <optional>
#include <stdexcept>
#include <utility>

#include <torch/torch.h>

#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace nn = torch::nn;

double norm_of(const torch::Tensor& tensor) { return tensor.to(torch::kFloat64).norm().item<double>(); }

double global_norm(const nn::Module& model) {
  double squares = 0;
  for (const torch::Tensor& p : model.parameters())
    if (p.grad().defined()) squares += std::pow(norm_of(p.grad()), 2);
  return std::sqrt(squares);
}

bool close(double value, double reference) { return std::fabs(value - reference) <= 1e-5 * std::fabs(reference); }

nn::Sequential small_net(std::int64_t in = 6, std::int64_t out = 3) {
  return nn::Sequential(nn::Linear(in, 8), nn::Tanh(), nn::Linear(8, out));
}

/// Actor and critic on one trunk.
struct ActorCriticImpl : nn::Module {
  nn::Linear trunk{4, 8}, actor{8, 2}, critic{8, 1};
  ActorCriticImpl() {
    register_module("trunk", trunk);
    register_module("actor", actor);
    register_module("critic", critic);
  }
};
TORCH_MODULE(ActorCritic);

/// Calls step() and remembers the norm that it should find.
class Checked {
 public:
  Checked(Monitor& monitor, const nn::Module& model) : monitor_(monitor), model_(model) {}
  void step(const torch::Tensor& loss) {
    norms_.push_back(global_norm(model_));
    monitor_.step(loss);
  }
  void check(const std::filesystem::path& path) const {
    monitor_.close();
    CHECK(monitor_.status().error.empty());
    const Rows run(path);
    REQUIRE(run.rows.size() == norms_.size());
    for (std::size_t row = 0; row < norms_.size(); ++row) {
      CHECK(close(run.rows[row].at(Quantity::kGlobalGradientNorm), norms_[row]));
      CHECK(run.rows[row].at(Quantity::kGradientStage) == 0);
    }
  }

 private:
  Monitor& monitor_;
  const nn::Module& model_;
  std::vector<double> norms_;
};

}  // namespace

TEST_CASE("of three backward passes a GAN's critic records the two that are its own", "[hooks]") {
  torch::manual_seed(41);
  TemporaryDirectory directory;
  nn::Sequential generator = small_net(4, 6), critic = small_net(6, 1);
  torch::optim::SGD generator_optimizer = sgd(*generator), critic_optimizer = sgd(*critic);
  MonitorOptions options = every_step();
  options.name = "G";
  Monitor g(*generator, generator_optimizer, directory.path(), options);
  options.name = "D";
  Monitor d(*critic, critic_optimizer, directory.path(), options);
  Checked checked_g(g, *generator), checked_d(d, *critic);
  std::vector<double> at_output, at_generated;
  for (int step = 0; step < 5; ++step) {
    critic_optimizer.zero_grad();
    const torch::Tensor real = critic->forward(torch::randn({7, 6}));
    real.retain_grad();
    torch::softplus(-real).mean().backward();
    const torch::Tensor generated = generator->forward(torch::randn({7, 4}));
    const torch::Tensor fake = critic->forward(generated.detach());
    fake.retain_grad();
    const torch::Tensor critic_loss = torch::softplus(fake).mean();
    critic_loss.backward();
    at_output.push_back(std::hypot(norm_of(real.grad()), norm_of(fake.grad())));
    checked_d.step(critic_loss);
    critic_optimizer.step();
    generator_optimizer.zero_grad();
    generated.retain_grad();
    const torch::Tensor generator_loss = torch::softplus(-critic->forward(generated)).mean();
    generator_loss.backward();
    at_generated.push_back(norm_of(generated.grad()));
    checked_g.step(generator_loss);
    generator_optimizer.step();
  }
  checked_g.check(directory / "G.h5");
  checked_d.check(directory / "D.h5");
  const Rows of_critic(directory / "D.h5"), of_generator(directory / "G.h5");
  for (std::size_t row = 0; row < 5; ++row) {
    CHECK(close(of_critic.at(row, Quantity::kActivationGradientNorm, "2"), at_output[row]));
    CHECK(of_critic.rows[row].at(Quantity::kBatchSize) == 14);
    CHECK(close(of_generator.at(row, Quantity::kActivationGradientNorm, "2"), at_generated[row]));
    CHECK(of_generator.rows[row].at(Quantity::kBatchSize) == 7);
  }
}

TEST_CASE("an actor and a critic on one trunk, with an optimizer each, make two steps an iteration", "[hooks]") {
  torch::manual_seed(42);
  TemporaryDirectory directory;
  ActorCritic model;
  std::vector<torch::Tensor> of_actor = model->trunk->parameters(), of_critic = model->trunk->parameters();
  for (const torch::Tensor& p : model->actor->parameters()) of_actor.push_back(p);
  for (const torch::Tensor& p : model->critic->parameters()) of_critic.push_back(p);
  torch::optim::Adam actor(of_actor, torch::optim::AdamOptions(0.01));
  torch::optim::RMSprop critic(of_critic, torch::optim::RMSpropOptions(0.01));
  Monitor monitor(*model, directory / "run.h5", every_step());
  Checked checked(monitor, *model);
  for (int iteration = 0; iteration < 6; ++iteration) {
    const torch::Tensor state = torch::randn({9, 4});
    model->zero_grad();
    torch::Tensor loss = torch::log_softmax(model->actor(torch::relu(model->trunk(state))), 1).select(1, 0).mean();
    loss.backward();
    checked.step(loss);
    actor.step();
    model->zero_grad();
    loss = model->critic(torch::relu(model->trunk(state))).pow(2).mean();
    loss.backward();
    checked.step(loss);
    critic.step();
  }
  checked.check(directory / "run.h5");
  const Rows run(directory / "run.h5");
  CHECK(run.names(Axis::kActivation) ==
        std::vector<std::string>{"trunk", "trunk:relu", "actor", "actor:log_softmax", "critic"});
  CHECK(std::isnan(run.at(3, Quantity::kActivationGradientNorm, "actor")));
  CHECK(run.at(3, Quantity::kUpdateRatio, "critic.weight") > 0);
  CHECK(run.at(3, Quantity::kUpdateRatio, "actor.weight") == 0);
}

TEST_CASE("two optimizers after one backward pass are one step", "[hooks]") {
  torch::manual_seed(43);
  TemporaryDirectory directory;
  nn::Sequential net = small_net();
  torch::optim::SGD front(net[0]->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
  torch::optim::Adam back(net[2]->parameters(), torch::optim::AdamOptions(0.01));
  for (const StepMode mode : {StepMode::kExplicit, StepMode::kAutomatic}) {
    MonitorOptions options = every_step();
    options.step = mode;
    options.name = mode == StepMode::kExplicit ? "explicit" : "automatic";
    Monitor monitor(*net, directory.path(), options);
    for (int step = 0; step < 6; ++step) {
      net->zero_grad();
      const torch::Tensor loss = net->forward(torch::randn({10, 6})).pow(2).mean();
      loss.backward();
      if (mode == StepMode::kExplicit) monitor.step(loss);
      front.step();
      back.step();
    }
    monitor.close();
    const Rows run(directory / (options.name + ".h5"));
    REQUIRE(run.rows.size() == 6);
    for (const char* name : {"0.weight", "2.weight"}) CHECK(run.at(4, Quantity::kUpdateRatio, name) > 0);
  }
}

TEST_CASE("a retained graph that is differentiated twice adds up", "[hooks]") {
  torch::manual_seed(44);
  TemporaryDirectory directory;
  nn::Sequential net = small_net();
  Monitor monitor(*net, directory / "run.h5", every_step());
  Checked checked(monitor, *net);
  const torch::Tensor out = net->forward(torch::randn({10, 6}));
  const torch::Tensor first = out.pow(2).mean(), second = out.abs().mean();
  first.backward({}, /*retain_graph=*/true);
  second.backward();
  checked.step(second);
  // Discarded between the two: only the second pass is the step's.
  net->zero_grad();
  const torch::Tensor again = net->forward(torch::randn({10, 6}));
  again.pow(2).mean().backward({}, /*retain_graph=*/true);
  net->zero_grad();
  again.sum().backward();
  checked.step(second);
  checked.check(directory / "run.h5");
  CHECK(close(Rows(directory / "run.h5").at(1, Quantity::kActivationGradientNorm, "2"), std::sqrt(30.0)));
}

TEST_CASE("a gradient penalty trains to the same bits, explicitly and automatically", "[hooks]") {
  std::vector<std::vector<torch::Tensor>> weights;
  for (const int way : {0, 1, 2}) {
    torch::manual_seed(45);
    TemporaryDirectory directory;
    nn::Sequential net = small_net(6, 1);
    torch::optim::Adam optimizer(net->parameters(), torch::optim::AdamOptions(0.01));
    MonitorOptions options = every_step();
    options.step = way == 2 ? StepMode::kAutomatic : StepMode::kExplicit;
    std::optional<Monitor> monitor;
    if (way > 0) monitor.emplace(*net, optimizer, directory / "run.h5", options);
    std::vector<double> norms;
    for (int step = 0; step < 15; ++step) {
      optimizer.zero_grad();
      const torch::Tensor x = torch::randn({10, 6}).requires_grad_();
      const torch::Tensor out = net->forward(x);
      const torch::Tensor slope =
          torch::autograd::grad({out.sum()}, {x}, {}, /*retain_graph=*/true, /*create_graph=*/true)[0];
      const torch::Tensor loss = out.mean() + (slope.norm(2, 1) - 1).pow(2).mean();
      loss.backward();
      norms.push_back(global_norm(*net));
      if (way == 1) monitor->step(loss);
      optimizer.step();
    }
    weights.push_back(net->parameters());
    if (!monitor) continue;
    monitor->close();
    const Rows run(directory / "run.h5");
    REQUIRE(run.rows.size() == 15);
    for (std::size_t row = 0; row < 15; ++row)
      CHECK(close(run.rows[row].at(Quantity::kGlobalGradientNorm), norms[row]));
  }
  for (std::size_t i = 0; i < weights[0].size(); ++i) {
    CHECK(torch::equal(weights[0][i], weights[1][i]));
    CHECK(torch::equal(weights[0][i], weights[2][i]));
  }
}

TEST_CASE("forward and backward passes that throw and are caught do not disturb the next step", "[hooks]") {
  for (const StepMode mode : {StepMode::kExplicit, StepMode::kAutomatic}) {
    torch::manual_seed(49);
    TemporaryDirectory directory;
    nn::Sequential net = small_net();
    torch::optim::SGD optimizer = sgd(*net);
    MonitorOptions options = every_step();
    options.step = mode;
    Monitor monitor(*net, optimizer, directory / "run.h5", options);
    for (int step = 0; step < 3; ++step) {
      CHECK_THROWS(net->forward(torch::ones({2, 7})));
      if (step == 1) {
        const torch::Tensor hooked = net->forward(torch::ones({2, 6}));
        hooked.register_hook([](const torch::Tensor&) { throw std::runtime_error("a hook of the trainer's"); });
        CHECK_THROWS(hooked.sum().backward());
      }
      optimizer.zero_grad();
      const torch::Tensor loss = net->forward(torch::randn({10, 6})).pow(2).mean();
      loss.backward();
      if (mode == StepMode::kExplicit) monitor.step(loss);
      optimizer.step();
    }
    monitor.close();
    const Rows run(directory / "run.h5");
    REQUIRE(run.rows.size() == 3);
    for (std::size_t row = 0; row < 3; ++row) {
      if (row != 1) CHECK(run.rows[row].at(Quantity::kBatchSize) == 10);
      CHECK(run.at(row, Quantity::kActivationGradientNorm, "2") > 0);
      CHECK(run.at(row, Quantity::kUpdateRatio, "0.weight") > 0);
    }
  }
}
