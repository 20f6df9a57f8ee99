#include <set>
#include <stdexcept>
#include <string>

#include <torch/torch.h>

#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Finding;
using gradhealth::Monitor;
using gradhealth::Severity;

namespace {

/// A regression whose inputs are pixels from 0 to 255 and whose learning rate does not forgive that.
void train_on_raw_pixels(Monitor& monitor, torch::nn::Sequential& net, torch::optim::Optimizer& optimizer, int steps) {
  torch::manual_seed(20);
  for (int step = 0; step < steps; ++step) {
    optimizer.zero_grad();
    const torch::Tensor input = torch::randint(256, {64, 20}).to(torch::kFloat32);
    const torch::Tensor target = torch::randint(4, {64});
    const torch::Tensor loss = torch::cross_entropy_loss(net->forward(input), target);
    loss.backward();
    monitor.step(loss);
    optimizer.step();
  }
}

torch::nn::Sequential classifier() {
  torch::manual_seed(21);
  return torch::nn::Sequential(torch::nn::Linear(20, 32), torch::nn::ReLU(), torch::nn::Linear(32, 32),
                               torch::nn::ReLU(), torch::nn::Linear(32, 4));
}

std::string subject_of(const Finding& finding) {
  return finding.rule + "/" + finding.subject.module + "/" + finding.subject.name;
}

void collect(const gradhealth::DiagnosedFinding& node, std::multiset<std::string>& into) {
  into.insert(subject_of(node.finding) + "/" + std::to_string(node.finding.first_step) + "/" + node.finding.message);
  for (const auto& consequence : node.consequences) collect(consequence, into);
}

std::multiset<std::string> all_findings(const gradhealth::Diagnosis& diagnosis) {
  std::multiset<std::string> findings;
  for (const auto& root : diagnosis.roots) collect(root, findings);
  return findings;
}

}  // namespace

TEST_CASE("raw pixels are named as the root cause within ten steps of training", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net = classifier();
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
  Monitor monitor(*net, optimizer, directory / "run.h5", every_step());
  std::vector<Finding> live;
  monitor.on_finding([&](const Finding& finding) { live.push_back(finding); });
  train_on_raw_pixels(monitor, net, optimizer, 10);
  REQUIRE_FALSE(live.empty());
  CHECK(live.front().rule == "unnormalized-input");
  train_on_raw_pixels(monitor, net, optimizer, 30);
  monitor.close();
  const gradhealth::Diagnosis diagnosis = monitor.diagnosis();
  REQUIRE_FALSE(diagnosis.roots.empty());
  CHECK(diagnosis.roots.front().finding.rule == "unnormalized-input");
  CHECK(diagnosis.verdict == gradhealth::Verdict::kUnhealthy);
}

TEST_CASE("a diagnosis made during the training equals the one made from its file", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net = classifier();
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
  gradhealth::MonitorOptions options;
  options.messages = gradhealth::Messages::kNone;
  Monitor monitor(*net, optimizer, directory / "run.h5", options);
  train_on_raw_pixels(monitor, net, optimizer, 120);
  monitor.close();
  const gradhealth::RunReader reader(directory / "run.h5");
  gradhealth::Diagnoser diagnoser;
  reader.for_each_step([&](const gradhealth::StepRecord& row) { diagnoser.observe(reader.run(), row); });
  CHECK(all_findings(diagnoser.diagnosis()) == all_findings(monitor.diagnosis()));
  CHECK_FALSE(all_findings(monitor.diagnosis()).empty());
}

TEST_CASE("a callback that throws is dropped and the training goes on", "[hooks]") {
  TemporaryDirectory directory;
  torch::nn::Sequential net = classifier();
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
  Monitor monitor(*net, optimizer, directory / "run.h5", every_step());
  int calls = 0;
  monitor.on_finding([&](const Finding&) {
    ++calls;
    throw std::runtime_error("from the callback");
  });
  train_on_raw_pixels(monitor, net, optimizer, 40);
  monitor.close();
  CHECK(calls == 1);
  CHECK(monitor.status().recorded_steps == 40);
}
