// Saturation, logits and running statistics, against plain tensor arithmetic.
#include <cmath>
#include <limits>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/recorded_loop.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace nn = torch::nn;

auto near(double value) { return Catch::Matchers::WithinRel(value, 1e-4); }

/// Every step, large tensors in part from the 21st on.
MonitorOptions sampled() {
  MonitorOptions options = every_step();
  options.statistics = Statistics::kSampled;
  return options;
}

}  // namespace

TEST_CASE("saturated elements are those whose derivative is below a hundredth of its maximum", "[hooks][details]") {
  torch::manual_seed(4);
  nn::Linear layer(4, 50);
  nn::Sequential net(layer);
  const torch::Tensor x = torch::randn({100, 4}) * 10;
  torch::Tensor s, t;
  const Rows rows = record_steps(*net, 1, [&](int) {
    const torch::Tensor y = net->forward(x);
    s = torch::sigmoid(y);
    t = torch::tanh(y);
    return (s + t).mean();
  });
  const double sigmoid = (s * (1 - s) < 0.0025).to(torch::kFloat64).mean().item<double>();
  const double tanh = (1 - t * t < 0.01).to(torch::kFloat64).mean().item<double>();
  REQUIRE(sigmoid > 0.01);
  REQUIRE(tanh > sigmoid);
  CHECK_THAT(rows.at(0, Quantity::kActivationSaturatedFraction, "0:sigmoid"), near(sigmoid));
  CHECK_THAT(rows.at(0, Quantity::kActivationSaturatedFraction, "0:tanh"), near(tanh));
  CHECK(std::isnan(rows.at(0, Quantity::kActivationSaturatedFraction, "0")));
}

TEST_CASE("a softmax shows how certain it is and how far its logits lie apart", "[hooks][details]") {
  torch::manual_seed(4);
  nn::Linear layer(4, 6);
  nn::Sequential net(layer);
  const torch::Tensor x = torch::randn({40, 4}) * 8;
  torch::Tensor logits, p;
  const bool masked = GENERATE(false, true);
  const Rows rows = record_steps(*net, 1, [&](int) {
    logits = net->forward(x);
    const torch::Tensor mask = torch::zeros({6});
    if (masked) mask[2] = -std::numeric_limits<float>::infinity();
    p = torch::softmax(logits + mask, -1);
    return p.square().mean();
  });
  const torch::Tensor kept = masked ? torch::cat({logits.slice(1, 0, 2), logits.slice(1, 3)}, 1) : logits;
  CHECK_THAT(rows.at(0, Quantity::kActivationLogitStd, "0:softmax"),
             near(kept.detach().to(torch::kFloat64).var(1, false).mean().sqrt().item<double>()));
  const double certain = (std::get<0>(p.max(1)) > 0.99).to(torch::kFloat64).mean().item<double>();
  REQUIRE(certain > 0);
  CHECK_THAT(rows.at(0, Quantity::kActivationSaturatedFraction, "0:softmax"), near(certain));
}

TEST_CASE("the gap between running and batch statistics is a divergence of normal distributions", "[hooks][details]") {
  torch::manual_seed(4);
  nn::BatchNorm2d norm(3);
  nn::Sequential net(nn::Conv2d(2, 3, 1), norm);
  const torch::Tensor x = torch::randn({8, 2, 5, 5}) * 3 + 2;
  torch::Tensor mean, variance, y;
  const Rows rows = record_steps(*net, 3, [&](int) {
    mean = norm->running_mean.clone().to(torch::kFloat64);
    variance = norm->running_var.clone().to(torch::kFloat64) + 1e-5;
    y = net[0]->as<nn::Conv2d>()->forward(x);
    return norm(y).square().mean();
  });
  const torch::Tensor channels = y.detach().to(torch::kFloat64).transpose(0, 1).reshape({3, -1});
  const torch::Tensor batch_variance = channels.var(1, true) + 1e-5;
  const torch::Tensor gap =
      0.5 * ((variance / batch_variance).log() + (batch_variance + (channels.mean(1) - mean).square()) / variance - 1);
  CHECK_THAT(rows.at(2, Quantity::kRunningStatisticsGap, "1"), near(gap.mean().item<double>()));
}

TEST_CASE("of a large batch, the gap is told of every sample at some positions", "[hooks][details]") {
  torch::manual_seed(4);
  // 262,144 elements of many positions, 524,288 of many channels.
  const bool wide = GENERATE(false, true);
  const std::int64_t channels = wide ? 1024 : 8;
  const std::int64_t side = wide ? 2 : 32;
  nn::BatchNorm2d norm(channels);
  nn::Sequential net(nn::Conv2d(16, channels, 1), norm);
  const std::int64_t samples = wide ? 128 : 32;
  torch::Tensor mean, variance, y;
  const Rows rows = record_steps(
      *net, 22,
      [&](int step) {
        mean = norm->running_mean.clone().to(torch::kFloat64);
        variance = norm->running_var.clone().to(torch::kFloat64) + 1e-5;
        y = net[0]->as<nn::Conv2d>()->forward(torch::randn({samples, 16, side, side}) * (step < 21 ? 1 : 3) + 1);
        return norm(y).square().mean();
      },
      sampled());
  const torch::Tensor channel_values = y.detach().to(torch::kFloat64).transpose(0, 1).reshape({channels, -1});
  const torch::Tensor batch_variance = channel_values.var(1, true) + 1e-5;
  const torch::Tensor gap = 0.5 * ((variance / batch_variance).log() +
                                   (batch_variance + (channel_values.mean(1) - mean).square()) / variance - 1);
  REQUIRE(gap.mean().item<double>() > 1);
  CHECK_THAT(rows.at(21, Quantity::kRunningStatisticsGap, "1"),
             Catch::Matchers::WithinRel(gap.mean().item<double>(), 0.1));
}

TEST_CASE("of a large softmax, the logits of some whole distributions are told", "[hooks][details]") {
  torch::manual_seed(4);
  nn::Linear layer(4, 64);
  nn::Sequential net(layer);
  torch::Tensor logits;
  const Rows rows = record_steps(
      *net, 22,
      [&](int) {
        logits = net->forward(torch::randn({2048, 4}) * 8);
        return torch::softmax(logits, -1).square().mean();
      },
      sampled());
  CHECK_THAT(
      rows.at(21, Quantity::kActivationLogitStd, "0:softmax"),
      Catch::Matchers::WithinRel(logits.detach().to(torch::kFloat64).var(1, false).mean().sqrt().item<double>(), 0.1));
}

TEST_CASE("in evaluation mode there is no gap to tell", "[hooks][details]") {
  nn::BatchNorm1d norm(3);
  nn::Sequential net(nn::Linear(2, 3), norm);
  net->eval();
  const Rows rows = record_steps(*net, 1, [&](int) { return net->forward(torch::randn({8, 2})).square().mean(); });
  CHECK(std::isnan(rows.at(0, Quantity::kRunningStatisticsGap, "1")));
}

TEST_CASE("padding that an embedding is given and what a mask excludes are counted", "[hooks][details]") {
  torch::manual_seed(4);
  const bool masked = GENERATE(false, true);
  struct Net : nn::Module {
    nn::Embedding embed = register_module("embed", nn::Embedding(nn::EmbeddingOptions(9, 8).padding_idx(0)));
    nn::MultiheadAttention attention = register_module("attention", nn::MultiheadAttention(8, 2));
  } net;
  const torch::Tensor indices = torch::randint(1, 9, {3, 5});
  indices[1].slice(0, 3).zero_();
  indices[2].slice(0, 2).zero_();
  const torch::Tensor padding = indices.eq(0);
  const Rows rows = record_steps(net, 1, [&](int) {
    const torch::Tensor x = net.embed(indices).transpose(0, 1);
    return std::get<0>(net.attention(x, x, x, masked ? padding : torch::Tensor())).square().mean();
  });
  CHECK_THAT(rows.at(0, Quantity::kPaddingFraction, "embed"), near(5 / 15.0));
  // A key that is masked is so for every query and head.
  CHECK_THAT(rows.at(0, Quantity::kMaskedFraction, "attention:softmax"),
             Catch::Matchers::WithinAbs(masked ? 5 / 15.0 : 0, 1e-6));
  CHECK(std::isnan(rows.at(0, Quantity::kPaddingFraction, "attention")));
}
