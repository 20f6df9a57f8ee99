#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <gradhealth/errors.h>
#include <gradhealth/hooks.h>
#include <gradhealth/hooks_preflight.h>

#include "hooks/models.h"
#include "hooks/statistics/reading.h"
#include "support/catch.h"
#include "support/temporary_directory.h"

using namespace gradhealth::test;
using gradhealth::preflight;
using gradhealth::PreflightOptions;
using gradhealth::PreflightReport;
using gradhealth::Severity;

namespace {

struct Batch {
  torch::Tensor data;
  torch::Tensor target;
};

const auto kCrossEntropy = [](const torch::Tensor& output, const torch::Tensor& target) {
  return torch::cross_entropy_loss(output, target);
};
const auto kSquaredError = [](const torch::Tensor& output, const torch::Tensor& target) {
  return torch::mse_loss(output, target);
};

/// Word indices to one class.
struct SequenceNetImpl : torch::nn::Module {
  torch::nn::Embedding embedding{50, 24};
  torch::nn::LSTM lstm{torch::nn::LSTMOptions(24, 32).num_layers(2).batch_first(true)};
  torch::nn::Linear head{32, 5};

  SequenceNetImpl() {
    register_module("embedding", embedding);
    register_module("lstm", lstm);
    register_module("head", head);
  }
  torch::Tensor forward(const torch::Tensor& words) {
    return head(std::get<0>(lstm(embedding(words))).select(1, words.size(1) - 1));
  }
};
TORCH_MODULE(SequenceNet);

struct AttentionNetImpl : torch::nn::Module {
  torch::nn::Embedding embedding{50, 32};
  torch::nn::TransformerEncoder encoder{
      torch::nn::TransformerEncoderLayer(torch::nn::TransformerEncoderLayerOptions(32, 4).dim_feedforward(64)), 2};
  torch::nn::Linear head{32, 50};

  AttentionNetImpl() {
    register_module("embedding", embedding);
    register_module("encoder", encoder);
    register_module("head", head);
  }
  torch::Tensor forward(const torch::Tensor& words) { return head(encoder(embedding(words))).flatten(0, 1); }
};
TORCH_MODULE(AttentionNet);

template <typename Activation>
torch::nn::Sequential chain(std::int64_t inputs, std::int64_t width, int hidden, std::int64_t outputs) {
  torch::nn::Sequential net;
  for (int i = 0; i < hidden; ++i) {
    net->push_back(torch::nn::Linear(i == 0 ? inputs : width, width));
    net->push_back(Activation());
  }
  net->push_back(torch::nn::Linear(width, outputs));
  return net;
}

Batch classes(std::vector<std::int64_t> shape, std::int64_t count) {
  const torch::Tensor data = torch::randn(shape);
  return {data, torch::randint(count, {shape[0]})};
}

/// Everything that a preflight might leave changed.
std::vector<torch::Tensor> state_of(const torch::nn::Module& net) {
  std::vector<torch::Tensor> state;
  for (const torch::Tensor& parameter : net.parameters()) {
    state.push_back(parameter.detach().clone());
    state.push_back(parameter.grad().defined() ? parameter.grad().clone() : torch::Tensor());
  }
  for (const torch::Tensor& buffer : net.buffers()) state.push_back(buffer.clone());
  state.push_back(at::globalContext().defaultGenerator(at::kCPU).get_state());
  for (const auto& module : net.modules(/*include_self=*/false)) state.push_back(torch::tensor(module->is_training()));
  return state;
}

void check_identical(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    REQUIRE(a[i].defined() == b[i].defined());
    if (a[i].defined()) CHECK(torch::equal(a[i], b[i]));
  }
}

template <typename Net, typename Loss>
void check_healthy(Net& net, const Batch& batch, const Loss& loss) {
  const std::vector<torch::Tensor> before = state_of(*net);
  const PreflightReport report = preflight(net, batch, loss);
  check_identical(before, state_of(*net));
  INFO(report);
  CHECK(report.healthy());
  CHECK(report.diagnosis.passed.size() > 10);
}

const gradhealth::Finding* find(const std::vector<gradhealth::DiagnosedFinding>& findings, const std::string& rule) {
  for (const gradhealth::DiagnosedFinding& each : findings) {
    if (each.finding.rule == rule) return &each.finding;
    if (const gradhealth::Finding* below = find(each.consequences, rule)) return below;
  }
  return nullptr;
}

void check_told(const PreflightReport& report, const std::string& rule) {
  INFO(report);
  CHECK_FALSE(report.healthy());
  const gradhealth::Finding* finding = find(report.diagnosis.roots, rule);
  REQUIRE(finding != nullptr);
  CHECK(finding->severity > Severity::kInfo);
  CHECK(report.text().find(finding->message) != std::string::npos);
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

namespace {

/// What a training's first step looks like to its monitor, before the update.
template <typename Net, typename Loss>
PreflightReport monitored(Net& net, const Batch& batch, const Loss& loss, gradhealth::MonitorOptions options = {}) {
  const TemporaryDirectory directory;
  torch::optim::SGD optimizer(net->parameters(), 0.01);
  options.messages = gradhealth::Messages::kFailures;
  gradhealth::Monitor monitor(*net, optimizer, directory.path() / "run.h5", options);
  const PreflightReport before = monitor.preflight();
  CHECK(before.diagnosis.verdict == gradhealth::Verdict::kUndecided);
  CHECK(before.diagnosis.undecided_because == "no step has ended yet");
  const torch::Tensor value = loss(net->forward(batch.data), batch.target);
  optimizer.zero_grad();
  monitor.backward(value);
  monitor.step(value);
  const PreflightReport report = monitor.preflight();
  CHECK(monitor.status().state == gradhealth::MonitorState::kRecording);
  CHECK(report.seconds < 1);
  return report;
}

void list(const std::vector<gradhealth::DiagnosedFinding>& findings, std::vector<std::string>& all) {
  for (const gradhealth::DiagnosedFinding& each : findings) {
    all.push_back(each.finding.rule + " " + each.finding.subject.name);  // A monitor's messages may say more.
    list(each.consequences, all);
  }
}

std::vector<std::string> findings_of(const PreflightReport& report) {
  std::vector<std::string> all;
  list(report.diagnosis.roots, all);
  return all;
}

}  // namespace

TEST_CASE("a monitor says of its first step what a preflight says of the same batch", "[hooks]") {
  torch::manual_seed(17);
  const auto same = [](auto& net, const Batch& batch, const auto& loss) {
    const PreflightReport expected = preflight(net, batch, loss);
    const PreflightReport report = monitored(net, batch, loss);
    INFO(expected << report);
    CHECK(report.healthy() == expected.healthy());
    CHECK(findings_of(report) == findings_of(expected));
    CHECK(report.diagnosis.passed == expected.diagnosis.passed);
    CHECK(report.diagnosis.verdict == expected.diagnosis.verdict);
    return report.healthy();
  };
  const auto pixels = [](std::vector<std::int64_t> shape) {
    return Batch{torch::randint(256, shape).to(torch::kFloat), torch::randint(3, {shape[0]})};
  };
  SECTION("healthy models") {
    auto deep = chain<torch::nn::ReLU>(20, 64, 12, 4);
    CHECK(same(deep, classes({32, 20}, 4), kCrossEntropy));
    auto regression = chain<torch::nn::GELU>(8, 64, 3, 1);
    CHECK(same(regression, {torch::randn({32, 8}), torch::randn({32, 1})}, kSquaredError));
    ConvNet convolutions;
    convolutions->dropout = 0.3;
    CHECK(same(convolutions, classes({16, 1, 8, 8}, 3), kCrossEntropy));
    SequenceNet sequence;
    CHECK(same(sequence, {torch::randint(50, {16, 12}), torch::randint(5, {16})}, kCrossEntropy));
    AttentionNet attention;
    CHECK(same(attention, {torch::randint(50, {8, 12}), torch::randint(50, {96})}, kCrossEntropy));
  }
  SECTION("raw pixels") {
    ConvNet net;
    CHECK_FALSE(same(net, pixels({16, 1, 8, 8}), kCrossEntropy));
    check_told(monitored(net, pixels({16, 1, 8, 8}), kCrossEntropy), "unnormalized-input");
  }
  SECTION("twelve sigmoid layers") {
    auto net = chain<torch::nn::Sigmoid>(20, 64, 12, 4);
    CHECK_FALSE(same(net, classes({32, 20}, 4), kCrossEntropy));
    check_told(monitored(net, classes({32, 20}, 4), kCrossEntropy), "initial-jacobian-growth");
  }
  SECTION("a softmax before a cross entropy") {
    torch::nn::Sequential net(torch::nn::Linear(8, 32), torch::nn::ReLU(), torch::nn::Linear(32, 4),
                              torch::nn::Softmax(1));
    CHECK_FALSE(same(net, classes({32, 8}, 4), kCrossEntropy));
  }
  SECTION("layers that are all zero") {
    auto net = chain<torch::nn::ReLU>(8, 32, 2, 3);
    const torch::NoGradGuard no_grad;
    for (torch::Tensor& parameter : net->parameters()) parameter.zero_();
    const torch::AutoGradMode grad_mode(true);
    CHECK_FALSE(same(net, classes({32, 8}, 3), kCrossEntropy));
  }
  SECTION("data that is not finite") {
    ConvNet net;
    Batch batch = classes({16, 1, 8, 8}, 3);
    batch.data[3][0][4][4] = std::numeric_limits<float>::quiet_NaN();
    CHECK_FALSE(same(net, batch, kCrossEntropy));
  }
}

TEST_CASE("a monitor's preflight is of the first step, whenever it is asked, and changes nothing", "[hooks]") {
  const TemporaryDirectory directory;
  const auto mode = GENERATE(gradhealth::StepMode::kExplicit, gradhealth::StepMode::kAutomatic);
  const auto train = [&](bool ask) {
    torch::manual_seed(18);
    ConvNet net;
    net->dropout = 0.3;
    torch::optim::SGD optimizer(net->parameters(), 0.05);
    gradhealth::MonitorOptions options;
    options.messages = gradhealth::Messages::kFailures;
    options.step = mode;
    gradhealth::Monitor monitor(*net, optimizer, directory.path() / "run.h5", options);
    std::vector<std::string> first;
    for (int step = 0; step < 4; ++step) {
      const torch::Tensor data = (step == 0 ? 255 : 1) * torch::rand({16, 1, 8, 8});
      const torch::Tensor loss = kCrossEntropy(net->forward(data), torch::randint(3, {16}));
      optimizer.zero_grad();
      loss.backward();
      if (options.step == gradhealth::StepMode::kExplicit) monitor.step(loss);
      optimizer.step();
      if (!ask) continue;
      const PreflightReport report = monitor.preflight();
      check_told(report, "unnormalized-input");
      if (step == 0) first = findings_of(report);
      CHECK(findings_of(report) == first);
    }
    monitor.close();
    CHECK(monitor.preflight().diagnosis.undecided_because == "nothing is being recorded");
    return state_of(*net);
  };
  check_identical(train(true), train(false));
}

TEST_CASE("a monitor's preflight waits for a device", "[hooks]") {
  torch::manual_seed(20);
  ConvNet net;
  const Batch pixels{torch::randint(256, {16, 1, 8, 8}).to(torch::kFloat), torch::randint(3, {16})};
  const gradhealth::hooks::PretendedDevice device(100);
  check_told(monitored(net, pixels, kCrossEntropy), "unnormalized-input");
}

TEST_CASE("a monitor's preflight keeps to its configuration and rules", "[hooks]") {
  torch::manual_seed(19);
  ConvNet net;
  const Batch pixels{torch::randint(256, {16, 1, 8, 8}).to(torch::kFloat), torch::randint(3, {16})};
  gradhealth::MonitorOptions options;
  options.rules = gradhealth::catalogue();
  gradhealth::Rule own = *gradhealth::find_rule(options.rules, "plateaued-loss");
  own.info.id = "own-rule";
  options.rules.push_back(own);
  options.diagnosis.rules["own-rule"].enabled = false;  // Not asked.
  CHECK(find(monitored(net, pixels, kCrossEntropy, options).diagnosis.roots, "unnormalized-input") != nullptr);
  options.diagnosis.rules["unnormalized-input"].enabled = false;
  CHECK(find(monitored(net, pixels, kCrossEntropy, options).diagnosis.roots, "unnormalized-input") == nullptr);
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
