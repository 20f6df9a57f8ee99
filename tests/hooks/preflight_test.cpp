#include <sstream>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <gradhealth/errors.h>
#include <gradhealth/hooks_preflight.h>

#include "hooks/models.h"
#include "hooks/preflight_models.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::preflight;
using gradhealth::PreflightOptions;
using gradhealth::PreflightReport;

namespace {

template <typename Net, typename Loss>
void check_healthy(Net& net, const Batch& batch, const Loss& loss) {
  const std::vector<torch::Tensor> before = state_of(*net);
  const PreflightReport report = preflight(net, batch, loss);
  check_identical(before, state_of(*net));
  INFO(report);
  CHECK(report.healthy());
  CHECK(report.diagnosis.passed.size() > 10);
}

}  // namespace

TEST_CASE("a preflight of healthy models is healthy and changes nothing", "[hooks]") {
  for (const int seed : {1, 2, 3, 4, 5}) {
    torch::manual_seed(seed);
    SECTION("plain chains, seed " + std::to_string(seed)) {
      auto shallow = chain<torch::nn::ReLU>(20, 50, 2, 4);
      check_healthy(shallow, classes({32, 20}, 4), kCrossEntropy);
      auto deep = chain<torch::nn::ReLU>(20, 64, 12, 4);
      check_healthy(deep, classes({32, 20}, 4), kCrossEntropy);
      auto tanh = chain<torch::nn::Tanh>(20, 32, 4, 4);
      check_healthy(tanh, classes({32, 20}, 4), kCrossEntropy);
      auto wide = chain<torch::nn::ReLU>(784, 512, 3, 10);
      check_healthy(wide, {torch::rand({64, 784}), torch::randint(10, {64})}, kCrossEntropy);
      auto regression = chain<torch::nn::GELU>(8, 64, 3, 1);
      check_healthy(regression, {torch::randn({32, 8}), torch::randn({32, 1})}, kSquaredError);
    }
    SECTION("a convolutional net with batch normalisation and dropout, seed " + std::to_string(seed)) {
      ConvNet net;
      net->dropout = 0.3;
      check_healthy(net, classes({16, 1, 8, 8}, 3), kCrossEntropy);
    }
    SECTION("an LSTM, seed " + std::to_string(seed)) {
      SequenceNet net;
      check_healthy(net, {torch::randint(50, {16, 12}), torch::randint(5, {16})}, kCrossEntropy);
    }
    SECTION("a transformer, seed " + std::to_string(seed)) {
      AttentionNet net;
      check_healthy(net, {torch::randint(50, {8, 12}), torch::randint(50, {96})}, kCrossEntropy);
    }
  }
}

TEST_CASE("branches and heads that start at zero are healthy", "[hooks]") {
  struct ZeroInitImpl : torch::nn::Module {
    torch::nn::Linear stem{8, 16}, up{16, 32}, down{32, 16}, head{16, 4};
    ZeroInitImpl() {
      register_module("stem", stem);
      register_module("up", up);
      register_module("down", down);
      register_module("head", head);
      const torch::NoGradGuard no_grad;
      for (torch::nn::Linear& zero : {std::ref(down), std::ref(head)}) {
        zero->weight.zero_();
        zero->bias.zero_();
      }
    }
    torch::Tensor forward(const torch::Tensor& x) {
      const torch::Tensor y = stem(x);
      return head(y + down(torch::relu(up(y))));
    }
  };
  torch::manual_seed(3);
  auto net = std::make_shared<ZeroInitImpl>();
  check_healthy(net, classes({32, 8}, 4), kCrossEntropy);
}

TEST_CASE("gradients, modes and the values of buffers survive a preflight in the middle of a training", "[hooks]") {
  torch::manual_seed(7);
  ConvNet net;
  net->dropout = 0.3;
  const Batch batch = classes({16, 1, 8, 8}, 3);
  kCrossEntropy(net->forward(batch.data), batch.target).backward();
  net->fc2->weight.mutable_grad() = torch::Tensor();
  net->conv2->eval();
  const torch::Tensor kept = net->fc1->weight.grad();
  const std::vector<torch::Tensor> before = state_of(*net);
  const torch::Tensor input = batch.data.clone().requires_grad_();
  preflight(*net, [&] {
    net->zero_grad();  // Nothing of the trainer's, here.
    net->eval();
    net->conv1->train();
    const torch::NoGradGuard no_grad;
    net->fc1->weight.mul_(2);
    const torch::AutoGradMode grad_mode(true);
    return kCrossEntropy(net->forward(input), batch.target);
  });
  check_identical(before, state_of(*net));
  CHECK(net->fc1->weight.grad().is_same(kept));
  CHECK_FALSE(input.grad().defined());
}

TEST_CASE("a loss that throws leaves the model as it was", "[hooks]") {
  torch::manual_seed(8);
  ConvNet net;
  net->dropout = 0.3;
  const std::vector<torch::Tensor> before = state_of(*net);
  CHECK_THROWS_AS(preflight(*net,
                            [&]() -> torch::Tensor {
                              net->forward(torch::randn({4, 1, 8, 8}));
                              throw std::domain_error("no batch");
                            }),
                  std::domain_error);
  CHECK_THROWS_AS(preflight(*net, [&] { return net->forward(torch::randn({4, 1, 8, 8})); }), gradhealth::UsageError);
  check_identical(before, state_of(*net));
}

TEST_CASE("raw pixels are told before the training", "[hooks]") {
  torch::manual_seed(9);
  ConvNet net;
  check_told(preflight(net, Batch{torch::randint(256, {16, 1, 8, 8}).to(torch::kFloat), torch::randint(3, {16})},
                       kCrossEntropy),
             "unnormalized-input");
}

TEST_CASE("constant weights are told before the training", "[hooks]") {
  torch::manual_seed(10);
  auto net = chain<torch::nn::ReLU>(8, 32, 2, 3);
  const torch::NoGradGuard no_grad;
  for (torch::Tensor& parameter : net->parameters()) parameter.fill_(0.05);
  check_told(preflight(net, classes({32, 8}, 3), kCrossEntropy), "symmetric-weight");
}

TEST_CASE("layers that are all zero are told before the training", "[hooks]") {
  torch::manual_seed(10);
  auto net = chain<torch::nn::ReLU>(8, 32, 2, 3);
  const torch::NoGradGuard no_grad;
  for (torch::Tensor& parameter : net->parameters()) parameter.zero_();
  check_told(preflight(net, classes({32, 8}, 3), kCrossEntropy), "dead-units");
}

TEST_CASE("a layer behind which the graph is cut is told before the training", "[hooks]") {
  torch::manual_seed(11);
  torch::nn::Sequential front(torch::nn::Linear(8, 16), torch::nn::ReLU());
  torch::nn::Sequential back(torch::nn::Linear(16, 16), torch::nn::ReLU(), torch::nn::Linear(16, 3));
  torch::nn::Module both;
  both.register_module("front", front);
  both.register_module("back", back);
  const Batch batch = classes({32, 8}, 3);
  const auto loss = [&](bool detach) {
    const torch::Tensor hidden = front->forward(batch.data);
    return kCrossEntropy(back->forward(detach ? hidden.detach() : hidden), batch.target);
  };
  check_told(preflight(both, [&] { return loss(true); }), "no-gradient");
  CHECK(preflight(both, [&] { return loss(false); }).healthy());
  const PreflightReport without = preflight(both, [&] { return loss(false).detach(); });
  check_told(without, "no-gradient");
}

TEST_CASE("a softmax before a cross entropy is told before the training", "[hooks]") {
  torch::manual_seed(12);
  torch::nn::Sequential net(torch::nn::Linear(8, 32), torch::nn::ReLU(), torch::nn::Linear(32, 4),
                            torch::nn::Softmax(1));
  check_told(preflight(net, classes({32, 8}, 4), torch::nn::CrossEntropyLoss()), "double-softmax");
}

TEST_CASE("targets that are broadcast are told before the training", "[hooks]") {
  torch::manual_seed(13);
  auto net = chain<torch::nn::ReLU>(8, 32, 2, 1);
  const auto hand_written = [](const torch::Tensor& output, const torch::Tensor& target) {
    return (output - target).pow(2).mean();
  };
  check_told(preflight(net, Batch{torch::randn({32, 8}), torch::randn({32})}, hand_written), "broadcast-target");
}

TEST_CASE("a softmax over the samples is told before the training", "[hooks]") {
  torch::manual_seed(13);
  torch::nn::Sequential net(torch::nn::Linear(8, 32), torch::nn::ReLU(), torch::nn::Linear(32, 4),
                            torch::nn::LogSoftmax(0));
  check_told(preflight(net, classes({32, 8}, 4), torch::nn::NLLLoss()), "softmax-wrong-dimension");
}

TEST_CASE("binary targets that are pixels are told before the training", "[hooks]") {
  torch::manual_seed(13);
  auto net = chain<torch::nn::ReLU>(8, 32, 2, 1);
  check_told(preflight(net, Batch{torch::randn({32, 8}), 255 * torch::rand({32, 1})}, torch::nn::BCEWithLogitsLoss()),
             "target-out-of-range");
}

TEST_CASE("twelve sigmoid layers are told before the training", "[hooks]") {
  for (const int seed : {1, 2, 3}) {
    torch::manual_seed(seed);
    auto net = chain<torch::nn::Sigmoid>(20, 64, 12, 4);
    check_told(preflight(net, classes({32, 20}, 4), kCrossEntropy), "initial-jacobian-growth");
  }
}

TEST_CASE("a stack whose weights are far too large is told before the training", "[hooks]") {
  torch::manual_seed(14);
  auto net = chain<torch::nn::ReLU>(20, 64, 10, 4);
  const torch::NoGradGuard no_grad;
  for (torch::Tensor& parameter : net->parameters())
    if (parameter.dim() > 1) parameter.mul_(8);
  check_told(preflight(net, classes({32, 20}, 4), kCrossEntropy), "initial-jacobian-growth");
}

TEST_CASE("a preflight takes a Monitor's configuration", "[hooks]") {
  torch::manual_seed(15);
  ConvNet net;
  const Batch pixels{torch::randint(256, {16, 1, 8, 8}).to(torch::kFloat), torch::randint(3, {16})};
  PreflightOptions options;
  options.diagnosis.rules["plateaued-loss"].enabled = false;  // Not asked.
  options.diagnosis.rules["unnormalized-input"].enabled = false;
  CHECK(find(preflight(net, pixels, kCrossEntropy, options).diagnosis.roots, "unnormalized-input") == nullptr);
  options.diagnosis.rules["no-such-rule"] = {};
  CHECK_THROWS_AS(preflight(net, pixels, kCrossEntropy, options), gradhealth::UsageError);
  CHECK_THROWS_AS(preflight(*torch::nn::Sequential(), [] { return torch::ones({}); }), gradhealth::UsageError);
}

TEST_CASE("a report prints what it found", "[hooks]") {
  torch::manual_seed(16);
  ConvNet net;
  std::ostringstream out;
  out << preflight(net, Batch{255 * torch::rand({16, 1, 8, 8}), torch::randint(3, {16})}, kCrossEntropy);
  CHECK(out.str().rfind("preflight: not healthy", 0) == 0);
  CHECK(out.str().find("unnormalized-input") != std::string::npos);
  CHECK(out.str().find("\n    -> ") != std::string::npos);
}
