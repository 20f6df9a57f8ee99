// What a monitor says of its first step, before the update.
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <gradhealth/hooks.h>
#include <gradhealth/hooks_preflight.h>

#include "hooks/models.h"
#include "hooks/preflight_models.h"
#include "hooks/statistics/reading.h"
#include "support/catch.h"
#include "support/temporary_directory.h"

using namespace gradhealth::test;
using gradhealth::preflight;
using gradhealth::PreflightReport;

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
