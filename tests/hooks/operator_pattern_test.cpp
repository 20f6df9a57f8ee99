#include <functional>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/recorded_loop.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace nn = torch::nn;
namespace F = torch::nn::functional;
using Texts = std::vector<std::string>;

Texts patterns(std::int64_t out, const std::function<torch::Tensor(const torch::Tensor&)>& loss_of) {
  torch::manual_seed(4);
  nn::Linear model(3, out);
  const torch::Tensor x = torch::randn({8, 3});
  nn::Sequential net(model);
  return events_of(record_steps(*net, 2, [&](int) { return loss_of(net->forward(x)); }), "operator-pattern");
}

}  // namespace

TEST_CASE("a column minus a row is a broadcast in the loss", "[hooks][operator-pattern]") {
  const torch::Tensor y = torch::randn({8});
  CHECK(patterns(1, [&](const torch::Tensor& p) { return torch::mse_loss(p, y); }) ==
        Texts{"0: pattern=broadcast-in-loss op=mse_loss left=8x1 right=8 output=8x8"});
  CHECK(patterns(1, [&](const torch::Tensor& p) { return (p - y).square().mean(); }) ==
        Texts{"0: pattern=broadcast-in-loss op=sub left=8x1 right=8 output=8x8"});
  CHECK(patterns(1, [&](const torch::Tensor& p) { return (y * p).sum(); }) ==
        Texts{"0: pattern=broadcast-in-loss op=mul left=8 right=8x1 output=8x8"});
  CHECK(patterns(1, [&](const torch::Tensor& p) { return F::smooth_l1_loss(p, y); }).size() == 1);
}

TEST_CASE("equal shapes, masks, weights and constants are no broadcast in the loss", "[hooks][operator-pattern]") {
  const torch::Tensor y = torch::randn({8});
  CHECK(patterns(1, [&](const torch::Tensor& p) { return torch::mse_loss(p.squeeze(1), y); }).empty());
  CHECK(patterns(4, [&](const torch::Tensor& p) { return (p * y.unsqueeze(1)).square().mean(); }).empty());
  CHECK(patterns(4, [&](const torch::Tensor& p) { return (p - 0.5).square().mean(); }).empty());
  // It goes on through an activation function: attention, say.
  CHECK(patterns(1, [&](const torch::Tensor& p) { return torch::softmax(p * y, 1).square().sum(); }).empty());
}

TEST_CASE("the logarithm of a softmax is noted, also of one moved away from zero", "[hooks][operator-pattern]") {
  const torch::Tensor y = torch::randint(4, {8});
  const Texts expected{"0:softmax: pattern=log-of-softmax op=log left=8x4 output=8x4"};
  CHECK(patterns(4, [&](const torch::Tensor& p) { return torch::nll_loss(torch::log(torch::softmax(p, 1)), y); }) ==
        expected);
  CHECK(patterns(4, [&](const torch::Tensor& p) {
          return torch::nll_loss(torch::log(torch::softmax(p, 1) + 1e-9), y);
        }) == expected);
  CHECK(patterns(4, [&](const torch::Tensor& p) {
          return torch::nll_loss(torch::softmax(p, 1).clamp_min(1e-9).log(), y);
        }) == expected);
  CHECK(patterns(4, [&](const torch::Tensor& p) { return torch::nll_loss(torch::log_softmax(p, 1), y); }).empty());
  // Of what attention has made with it.
  CHECK(patterns(4, [&](const torch::Tensor& p) {
          return torch::matmul(torch::softmax(p, 1), torch::ones({4, 2})).log().mean();
        }).empty());
}

TEST_CASE("a softmax over one value is noted", "[hooks][operator-pattern]") {
  CHECK(patterns(1, [&](const torch::Tensor& p) { return torch::softmax(p, 1).mean(); }) ==
        Texts{"0:softmax: pattern=softmax-over-one op=softmax left=8x1 output=8x1"});
  CHECK(patterns(1, [&](const torch::Tensor& p) {
          return torch::cross_entropy_loss(p, torch::zeros({8}, torch::kLong));
        }) == Texts{"0: pattern=softmax-over-one op=cross_entropy_loss left=8x1 output=8x1"});
  CHECK(patterns(2, [&](const torch::Tensor& p) { return torch::softmax(p, -1).square().mean(); }).empty());
}

TEST_CASE("a softmax along another dimension than the loss's classes is noted", "[hooks][operator-pattern]") {
  const torch::Tensor y = torch::randint(4, {8});
  const auto nll = [&](const torch::Tensor& p) { return torch::nll_loss(p, y); };
  CHECK(patterns(4, [&](const torch::Tensor& p) { return nll(torch::log_softmax(p, 0)); }) ==
        Texts{"0:log_softmax: pattern=softmax-beside-classes op=log_softmax left=8x4 output=8x4 along=0"});
  CHECK(patterns(4, [&](const torch::Tensor& p) { return torch::cross_entropy_loss(torch::softmax(p, -2), y); }) ==
        Texts{"0:softmax: pattern=softmax-beside-classes op=softmax left=8x4 output=8x4 along=0"});
  // A sequence: [samples, classes, positions].
  const torch::Tensor sequence = torch::randint(2, {4, 2});
  CHECK(patterns(4, [&](const torch::Tensor& p) {
          return F::nll_loss(torch::log_softmax(p.view({4, 4, 2}), 2), sequence);
        }).size() == 1);
}

TEST_CASE("a softmax over the classes, or where the two cannot be told apart, is none", "[hooks][operator-pattern]") {
  const torch::Tensor y = torch::randint(4, {8});
  CHECK(patterns(4, [&](const torch::Tensor& p) { return torch::nll_loss(torch::log_softmax(p, -1), y); }).empty());
  // Transposed before the loss.
  CHECK(patterns(8, [&](const torch::Tensor& p) {
          return torch::nll_loss(torch::log_softmax(p.slice(1, 0, 4).t(), 0).t(), y);
        }).empty());
  // All pairs of a batch, right answers on the diagonal.
  const torch::Tensor diagonal = torch::arange(8);
  CHECK(
      patterns(8, [&](const torch::Tensor& p) { return torch::nll_loss(torch::log_softmax(p, 0), diagonal); }).empty());
  // Positions first, then flattened.
  CHECK(patterns(4, [&](const torch::Tensor& p) {
          return torch::nll_loss(torch::log_softmax(p.view({4, 2, 4}), 2).view({8, 4}), y);
        }).empty());
  // Attention pools over the samples; the loss is another softmax's.
  CHECK(patterns(4, [&](const torch::Tensor& p) {
          return torch::nll_loss(torch::log_softmax(torch::softmax(p, 0) * p, 1), y);
        }).empty());
}
