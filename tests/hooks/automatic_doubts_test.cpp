// What automatic steps cannot be sure of: it must come out right, or be marked.
#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/three_ways.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace nn = torch::nn;

TEST_CASE("updates that a loss scaler skips are steps, and marked", "[hooks][automatic]") {
  for (const bool none : {false, true}) {
    const auto train = [=](Monitors& monitors) {
      nn::Sequential net = small_net();
      torch::optim::SGD optimizer = sgd(*net, 0.1);
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
  torch::optim::SGD optimizer = sgd(*net, 0.1);
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

TEST_CASE("passes for adversarial examples are steps without an update, and no findings come of them",
          "[hooks][automatic]") {
  TemporaryDirectory directory;
  torch::manual_seed(8);
  nn::Sequential net(nn::Linear(6, 16), nn::ReLU(), nn::Linear(16, 3));
  torch::optim::SGD optimizer = sgd(*net, 0.1);
  MonitorOptions options;
  options.messages = Messages::kNone;
  options.budget = 0;
  options.step = StepMode::kAutomatic;
  Monitor monitor(*net, optimizer, directory / "run.h5", options);
  const torch::Tensor centres = torch::randn({3, 6});
  for (int step = 0; step < 100; ++step) {
    const torch::Tensor y = torch::randint(3, {32});
    const torch::Tensor x = centres.index_select(0, y) + 0.5 * torch::randn({32, 6});
    const torch::Tensor moved = x.clone().requires_grad_();
    torch::cross_entropy_loss(net->forward(moved), y).backward();
    optimizer.zero_grad();
    torch::cross_entropy_loss(net->forward(x + 0.1 * moved.grad().sign()), y).backward();
    optimizer.step();
  }
  monitor.close();
  for (const DiagnosedFinding& root : monitor.diagnosis().roots) CHECK(root.finding.severity == Severity::kInfo);
  const Rows run(directory / "run.h5");
  CHECK(doubts(run).size() >= 10);
  std::size_t updates = 0;
  std::size_t none = 0;
  for (std::size_t row = 21; row < run.rows.size(); ++row) {
    const double ratio = run.at(row, Quantity::kUpdateRatio, "0.weight");
    if (run.rows[row].step % 2 == 0) {
      CHECK(ratio == 0);
      ++none;
    } else if (std::isfinite(ratio)) {
      CHECK(ratio > 0);
      ++updates;
    }
  }
  CHECK(none > 10);
  CHECK(updates > 10);
}

TEST_CASE("sparse gradients of a skipped update are seen to go, too", "[hooks][automatic]") {
  const auto train = [](Monitors& monitors) {
    nn::Embedding embedding(nn::EmbeddingOptions(9, 4).sparse(true));
    torch::optim::SGD optimizer = sgd(*embedding, 0.1);
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

TEST_CASE("a critic whose generator nobody watches has its own steps too, and a mark", "[hooks][automatic]") {
  const auto train = [](Monitors& monitors) {
    nn::Sequential generator(nn::Linear(4, 8), nn::ReLU(), nn::Linear(8, 6));
    nn::Sequential critic(nn::Linear(6, 8), nn::LeakyReLU(), nn::Linear(8, 1));
    torch::optim::SGD generator_optimizer = sgd(*generator, 0.1), critic_optimizer = sgd(*critic, 0.1);
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
