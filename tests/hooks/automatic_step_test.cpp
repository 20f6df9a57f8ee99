#include <functional>
#include <memory>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/three_ways.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace nn = torch::nn;

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
    torch::optim::SGD optimizer = sgd(*net, 0.1);
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
