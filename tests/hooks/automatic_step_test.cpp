// The same training three times: bare, with step(loss) after the last backward(), and with automatic steps. Weights
// must be the same to the bit in all three, and what is recorded in the last two, times apart.
#include <cmath>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include <torch/torch.h>

#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace nn = torch::nn;
enum class Way { kBare, kExplicit, kAutomatic };

/// What a trainer sees of its monitors.
class Monitors {
 public:
  Monitors(Way way, std::filesystem::path directory) : way_(way), directory_(std::move(directory)) {}

  void watch(nn::Module& model, torch::optim::Optimizer& optimizer, const std::string& name = "run") {
    models_.push_back(model.parameters());
    names_.push_back(name);
    if (way_ == Way::kBare) return monitors_.push_back(std::nullopt);
    MonitorOptions options = every_step();
    options.name = name;
    if (way_ == Way::kAutomatic) options.step = StepMode::kAutomatic;
    monitors_.emplace_back(std::in_place, model, optimizer, directory_, options);
  }
  void step(const torch::Tensor& loss, std::size_t model = 0) {
    if (way_ == Way::kExplicit) monitors_[model]->step(loss);
  }
  void close() {
    for (auto& monitor : monitors_) {
      if (!monitor) continue;
      monitor->close();
      CHECK(monitor->status().error.empty());
    }
  }
  Rows rows(std::size_t model = 0) const { return Rows(directory_ / (names_[model] + ".h5")); }
  const std::vector<std::vector<torch::Tensor>>& weights() const { return models_; }

 private:
  Way way_;
  std::filesystem::path directory_;
  std::vector<std::string> names_;
  std::vector<std::optional<Monitor>> monitors_;
  std::vector<std::vector<torch::Tensor>> models_;
};

using Trainer = std::function<void(Monitors&)>;

bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

void check_same_rows(const Rows& a, const Rows& b) {
  for (const Axis axis : {Axis::kParameter, Axis::kActivation, Axis::kFeature, Axis::kInputBin}) CHECK(a.names(axis) == b.names(axis));
  REQUIRE(a.rows.size() == b.rows.size());
  for (std::size_t row = 0; row < a.rows.size(); ++row) {
    CHECK(a.rows[row].step == b.rows[row].step);
    for (const QuantityInfo& quantity : quantities()) {
      if (quantity.id == Quantity::kStepTime) continue;
      // The update that ends a step has made the optimizer's state before it writes to the first parameter.
      if (quantity.id == Quantity::kOptimizerStateNonfinite) continue;
      const std::size_t subjects = quantity.axis == Axis::kRun ? 1 : a.run.of(quantity.axis).size();
      for (std::size_t i = 0; i < subjects; ++i) {
        if (same(a.rows[row].at(quantity.id, i), b.rows[row].at(quantity.id, i))) continue;
        FAIL_CHECK("row " << row << ", " << quantity.name << " of subject " << i << ": "
                          << a.rows[row].at(quantity.id, i) << " explicitly, " << b.rows[row].at(quantity.id, i)
                          << " automatically");
      }
    }
  }
}

/// Doubts that were told, in order.
std::vector<std::string> doubts(const Rows& run) {
  std::vector<std::string> texts;
  for (const StepRecord& row : run.rows)
    for (const Event& event : row.events)
      if (event.kind == "automatic-step") texts.push_back(event.text);
  return texts;
}

/// @returns the automatic run, of the first model.
Rows check_three_ways(const Trainer& train, std::size_t steps, std::size_t models = 1) {
  TemporaryDirectory explicit_directory, automatic_directory, bare_directory;
  Monitors bare(Way::kBare, bare_directory.path());
  Monitors by_call(Way::kExplicit, explicit_directory.path());
  Monitors by_itself(Way::kAutomatic, automatic_directory.path());
  for (Monitors* monitors : {&bare, &by_call, &by_itself}) {
    torch::manual_seed(21);
    train(*monitors);
    monitors->close();
  }
  for (std::size_t model = 0; model < models; ++model) {
    for (std::size_t i = 0; i < bare.weights()[model].size(); ++i) {
      CHECK(torch::equal(bare.weights()[model][i], by_call.weights()[model][i]));
      CHECK(torch::equal(bare.weights()[model][i], by_itself.weights()[model][i]));
    }
    check_same_rows(by_call.rows(model), by_itself.rows(model));
    CHECK(by_itself.rows(model).rows.size() == steps);
  }
  return by_itself.rows();
}

nn::Sequential small_net() { return nn::Sequential(nn::Linear(6, 8), nn::Tanh(), nn::Linear(8, 3)); }

torch::Tensor small_loss(nn::Sequential& net) {
  return torch::cross_entropy_loss(net->forward(torch::randn({10, 6})), torch::randint(3, {10}));
}

/// Twelve steps of a small net; `after` runs behind each update.
template <typename Optimizer, typename Options>
Trainer plain(Options options, std::function<void(nn::Sequential&)> after = {}) {
  return [=](Monitors& monitors) {
    nn::Sequential net = small_net();
    Optimizer optimizer(net->parameters(), options);
    monitors.watch(*net, optimizer);
    for (int step = 0; step < 12; ++step) {
      optimizer.zero_grad();
      const torch::Tensor loss = small_loss(net);
      loss.backward();
      monitors.step(loss);
      optimizer.step();
      if (after) after(net);
    }
  };
}

void set_to_none(nn::Module& module) {
  for (torch::Tensor& parameter : module.parameters()) parameter.mutable_grad().reset();
}

torch::optim::SGD sgd(nn::Module& module, double rate = 0.1) {
  return torch::optim::SGD(module.parameters(), torch::optim::SGDOptions(rate));
}

}  // namespace

TEST_CASE("automatic steps give the numbers of explicit ones with every optimizer", "[hooks][automatic]") {
  using namespace torch::optim;
  for (const Trainer& train :
       {plain<SGD>(SGDOptions(0.1)), plain<SGD>(SGDOptions(0.1).momentum(0.9).weight_decay(0.01)),
        plain<Adam>(AdamOptions(0.01).weight_decay(0.01)), plain<AdamW>(AdamWOptions(0.01)),
        plain<RMSprop>(RMSpropOptions(0.01).momentum(0.5)), plain<Adagrad>(AdagradOptions(0.05))}) {
    const Rows run = check_three_ways(train, 12);
    CHECK(doubts(run).empty());
    CHECK(run.rows[3].at(Quantity::kGradientStage) == 0);
    CHECK(run.at(3, Quantity::kUpdateRatio, "0.weight") > 0);
  }
}

TEST_CASE("each evaluation of LBFGS that is followed by an update is a step", "[hooks][automatic]") {
  for (const int iterations : {1, 20}) {
    const auto train = [=](Monitors& monitors) {
      nn::Sequential net = small_net();
      const torch::Tensor input = torch::randn({10, 6});
      const torch::Tensor target = torch::randint(3, {10});
      torch::optim::LBFGS optimizer(
          net->parameters(),
          torch::optim::LBFGSOptions(0.1).max_iter(iterations).max_eval(100).tolerance_grad(0).tolerance_change(0));
      monitors.watch(*net, optimizer);
      for (int step = 0; step < 3; ++step) {
        optimizer.step([&] {
          optimizer.zero_grad();
          const torch::Tensor loss = torch::cross_entropy_loss(net->forward(input), target);
          loss.backward();
          monitors.step(loss);
          return loss;
        });
      }
    };
    CHECK(doubts(check_three_ways(train, static_cast<std::size_t>(3 * iterations))).empty());
  }
}

TEST_CASE("automatic steps take accumulated gradients, schedules and clipping as they come", "[hooks][automatic]") {
  const auto train = [](Monitors& monitors) {
    nn::Sequential net = small_net();
    torch::optim::SGD optimizer = sgd(*net);
    torch::optim::StepLR schedule(optimizer, 3, 0.5);
    monitors.watch(*net, optimizer);
    for (int step = 0; step < 10; ++step) {
      optimizer.zero_grad();
      torch::Tensor loss;
      for (int part = 0; part < 4; ++part) {
        loss = small_loss(net) / 4;
        loss.backward();
      }
      monitors.step(loss);
      torch::nn::utils::clip_grad_norm_(net->parameters(), 0.05);
      torch::nn::utils::clip_grad_value_(net->parameters(), 0.01);
      optimizer.step();
      schedule.step();
    }
  };
  const Rows run = check_three_ways(train, 10);
  CHECK(doubts(run).empty());
  CHECK(run.rows[9].at(Quantity::kLearningRate) < 0.03);
  CHECK(run.rows[9].at(Quantity::kGradientStage) == 0);
  CHECK(run.rows[9].at(Quantity::kGlobalGradientNorm) > 0.05);
}

TEST_CASE("writes to weights that are no update are no step", "[hooks][automatic]") {
  const auto averages = std::make_shared<std::vector<torch::Tensor>>();
  const Rows run =
      check_three_ways(plain<torch::optim::SGD>(torch::optim::SGDOptions(0.3),
                                                [averages](nn::Sequential& net) {
                                                  const torch::NoGradGuard no_grad;
                                                  if (averages->empty())
                                                    for (const torch::Tensor& p : net->parameters())
                                                      averages->push_back(p.clone());
                                                  for (std::size_t i = 0; i < averages->size(); ++i) {
                                                    (*averages)[i].mul_(0.9).add_(net->parameters()[i], 0.1);
                                                    net->parameters()[i].clamp_(-0.3, 0.3);
                                                  }
                                                }),
                       12);
  CHECK(doubts(run).empty());
}

TEST_CASE("updates that a loss scaler skips are steps, and marked", "[hooks][automatic]") {
  for (const bool none : {false, true}) {
    const auto train = [=](Monitors& monitors) {
      nn::Sequential net = small_net();
      torch::optim::SGD optimizer = sgd(*net);
      monitors.watch(*net, optimizer);
      for (int step = 0; step < 12; ++step) {
        none ? set_to_none(*net) : net->zero_grad(false);
        const torch::Tensor loss = small_loss(net) * 8;
        loss.backward();
        monitors.step(loss);
        const torch::NoGradGuard no_grad;
        bool finite = true;
        for (const torch::Tensor& parameter : net->parameters()) {
          parameter.mutable_grad().div_(8);
          finite &= parameter.grad().isfinite().all().item<bool>();
        }
        if (finite && step % 4 != 2) optimizer.step();
      }
    };
    const Rows run = check_three_ways(train, 12);
    REQUIRE(doubts(run).size() == 3);
    CHECK(doubts(run)[0].find("no update had used them: counted as a step") != std::string::npos);
    CHECK(run.at(6, Quantity::kUpdateRatio, "0.weight") == 0);
  }
}

TEST_CASE("of a skipped update that leaves no operator to see, the gradients are missing and the step is marked",
          "[hooks][automatic]") {
  TemporaryDirectory directory;
  nn::Sequential net = small_net();
  torch::optim::SGD optimizer = sgd(*net);
  MonitorOptions options = every_step();
  options.step = StepMode::kAutomatic;
  Monitor monitor(*net, optimizer, directory / "run.h5", options);
  for (int step = 0; step < 4; ++step) {
    set_to_none(*net);
    small_loss(net).backward();
    if (step != 1) optimizer.step();
  }
  monitor.close();
  const Rows run(directory / "run.h5");
  REQUIRE(run.rows.size() == 4);
  CHECK(doubts(run).size() == 1);
  CHECK(std::isnan(run.at(1, Quantity::kGradientNorm, "0.weight")));
  CHECK(std::isfinite(run.rows[1].at(Quantity::kLoss)));
  CHECK(run.at(1, Quantity::kActivationGradientNorm, "0") > 0);
  CHECK(run.at(2, Quantity::kActivationGradientNorm, "0") > 0);
  CHECK(run.rows[2].at(Quantity::kBatchSize) == 10);
}

TEST_CASE("sparse gradients of a skipped update are seen to go, too", "[hooks][automatic]") {
  const auto train = [](Monitors& monitors) {
    nn::Embedding embedding(nn::EmbeddingOptions(9, 4).sparse(true));
    torch::optim::SGD optimizer = sgd(*embedding);
    monitors.watch(*embedding, optimizer);
    for (int step = 0; step < 8; ++step) {
      embedding->zero_grad(false);
      const torch::Tensor loss = embedding->forward(torch::randint(9, {5})).pow(2).sum();
      loss.backward();
      monitors.step(loss);
      if (step % 4 != 2) optimizer.step();
    }
  };
  CHECK(doubts(check_three_ways(train, 8)).size() == 2);
}

TEST_CASE("a generator and a critic each have their own steps", "[hooks][automatic]") {
  for (const bool none : {false, true}) {
    const auto train = [=](Monitors& monitors) {
      nn::Sequential generator(nn::Linear(4, 8), nn::ReLU(), nn::Linear(8, 6));
      nn::Sequential critic(nn::Linear(6, 8), nn::LeakyReLU(), nn::Linear(8, 1));
      torch::optim::Adam generator_optimizer(generator->parameters(), torch::optim::AdamOptions(0.01));
      torch::optim::Adam critic_optimizer(critic->parameters(), torch::optim::AdamOptions(0.01));
      monitors.watch(*critic, critic_optimizer, "D");
      monitors.watch(*generator, generator_optimizer, "G");
      const auto judged = [&](const torch::Tensor& x, double target) {
        const torch::Tensor out = critic->forward(x);
        return torch::binary_cross_entropy_with_logits(out, torch::full_like(out, target));
      };
      for (int step = 0; step < 12; ++step) {
        none ? set_to_none(*critic) : critic->zero_grad(false);
        judged(torch::randn({5, 6}), 1).backward();
        const torch::Tensor fake = generator->forward(torch::randn({5, 4}));
        const torch::Tensor critic_loss = judged(fake.detach(), 0);
        critic_loss.backward();
        monitors.step(critic_loss, 0);
        critic_optimizer.step();
        none ? set_to_none(*generator) : generator->zero_grad(false);
        const torch::Tensor generator_loss = judged(fake, 1);
        generator_loss.backward();
        monitors.step(generator_loss, 1);
        generator_optimizer.step();
      }
    };
    const Rows critic = check_three_ways(train, 12, 2);
    CHECK(doubts(critic).empty());
    CHECK(critic.rows[5].at(Quantity::kBatchSize) == 10);  // Real and fake; not what the generator sent through.
  }
}

TEST_CASE("a critic whose generator nobody watches has its own steps too, and a mark", "[hooks][automatic]") {
  const auto train = [](Monitors& monitors) {
    nn::Sequential generator(nn::Linear(4, 8), nn::ReLU(), nn::Linear(8, 6));
    nn::Sequential critic(nn::Linear(6, 8), nn::LeakyReLU(), nn::Linear(8, 1));
    torch::optim::SGD generator_optimizer = sgd(*generator), critic_optimizer = sgd(*critic);
    monitors.watch(*critic, critic_optimizer);
    for (int step = 0; step < 6; ++step) {
      critic_optimizer.zero_grad();
      const torch::Tensor loss = critic->forward(torch::randn({5, 6})).mean();
      loss.backward();
      monitors.step(loss);
      critic_optimizer.step();
      generator_optimizer.zero_grad();
      critic->forward(generator->forward(torch::randn({5, 4}))).mean().backward();
      generator_optimizer.step();
    }
  };
  const Rows run = check_three_ways(train, 6);
  REQUIRE(doubts(run).size() >= 1);
  CHECK(doubts(run)[0].find("not counted as a step") != std::string::npos);
}

TEST_CASE("evaluation between automatic steps leaves no trace", "[hooks][automatic]") {
  const Rows run = check_three_ways(plain<torch::optim::SGD>(torch::optim::SGDOptions(0.1),
                                                             [](nn::Sequential& net) {
                                                               net->forward(100 * torch::randn({3, 6}));
                                                               const torch::NoGradGuard no_grad;
                                                               net->forward(100 * torch::randn({3, 6})).relu_();
                                                             }),
                                    12);
  CHECK(doubts(run).empty());
  CHECK(run.rows[7].at(Quantity::kBatchSize) == 10);
}

TEST_CASE("a convolutional net, an LSTM and a transformer train to the same bits", "[hooks][automatic]") {
  const auto classify = [](Monitors& monitors, nn::Module& net, const std::function<torch::Tensor()>& logits) {
    torch::optim::Adam optimizer(net.parameters(), torch::optim::AdamOptions(0.003));
    monitors.watch(net, optimizer);
    for (int step = 0; step < 30; ++step) {
      optimizer.zero_grad();
      const torch::Tensor out = logits();
      const torch::Tensor loss = torch::cross_entropy_loss(out, torch::randint(3, {out.size(0)}));
      loss.backward();
      monitors.step(loss);
      optimizer.step();
    }
  };
  check_three_ways(
      [&](Monitors& monitors) {
        ConvNet net;
        net->dropout = 0.3;
        classify(monitors, *net, [&] { return net->forward(torch::randn({8, 1, 8, 8})); });
      },
      30);
  check_three_ways(
      [&](Monitors& monitors) {
        nn::LSTM lstm(nn::LSTMOptions(5, 3).num_layers(2).batch_first(true));
        classify(monitors, *lstm, [&] { return std::get<0>(lstm->forward(torch::randn({6, 7, 5}))).select(1, 6); });
      },
      30);
  check_three_ways(
      [&](Monitors& monitors) {
        nn::TransformerEncoder encoder(nn::TransformerEncoderOptions(
            nn::TransformerEncoderLayerOptions(6, 2).dim_feedforward(12).dropout(0.2), 2));
        classify(monitors, *encoder, [&] { return encoder->forward(torch::randn({4, 5, 6})).mean(0).slice(1, 0, 3); });
      },
      30);
}

TEST_CASE("what automatic steps cannot know is marked", "[hooks][automatic]") {
  TemporaryDirectory directory;
  nn::Sequential net = small_net();
  torch::optim::SGD front(net[0]->parameters(), torch::optim::SGDOptions(0.1));
  torch::optim::SGD back(net[2]->parameters(), torch::optim::SGDOptions(0.1));
  MonitorOptions options = every_step();
  options.step = StepMode::kAutomatic;
  Monitor monitor(*net, directory / "run.h5", options);
  SECTION("optimizers that take turns") {
    for (int step = 0; step < 3; ++step) {
      net->zero_grad();
      small_loss(net).backward();
      front.step();
      net->zero_grad();
      small_loss(net).backward();
      back.step();
    }
    monitor.close();
    const Rows run(directory / "run.h5");
    CHECK(run.rows.size() == 6);
    REQUIRE_FALSE(doubts(run).empty());
    CHECK(doubts(run)[0].find("no parameter in common") != std::string::npos);
  }
  SECTION("a backward pass that was given its gradient") {
    const torch::Tensor out = net->forward(torch::ones({2, 6}));
    out.backward(torch::ones_like(out));
    front.step();
    monitor.close();
    const Rows run(directory / "run.h5");
    REQUIRE(run.rows.size() == 1);
    CHECK(std::isnan(run.rows[0].at(Quantity::kLoss)));
    CHECK(run.at(0, Quantity::kGradientNorm, "0.weight") > 0);
    REQUIRE(doubts(run).size() == 1);
    CHECK(doubts(run)[0].find("loss is not known") != std::string::npos);
  }
  SECTION("a backward pass on a thread that ends with it") {
    std::thread([&] { small_loss(net).backward(); }).join();
    front.step();
    back.step();
    monitor.close();
    const Rows run(directory / "run.h5");
    REQUIRE(run.rows.size() == 1);
    CHECK(run.at(0, Quantity::kGradientNorm, "0.weight") > 0);
    REQUIRE(doubts(run).size() == 1);
    CHECK(doubts(run)[0].find("loss is not known") != std::string::npos);
  }
  SECTION("an end between backward and update, and a call of step()") {
    const torch::Tensor loss = small_loss(net);
    loss.backward();
    front.step();
    monitor.step(loss);
    net->zero_grad();
    small_loss(net).backward();
    monitor.close();
    const RunReader reader(directory / "run.h5");
    CHECK(reader.rows() == 1);
    std::vector<std::string> texts;
    for (const Event& event : reader.events())
      if (event.kind == "automatic-step") texts.push_back(event.text);
    REQUIRE(texts.size() == 2);
    CHECK(texts[0].find("step() was called") != std::string::npos);
    CHECK(texts[1].find("ended after a backward pass") != std::string::npos);
  }
}
