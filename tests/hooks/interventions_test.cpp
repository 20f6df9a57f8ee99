#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <gradhealth/errors.h>

#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Monitor;
using gradhealth::MonitorOptions;
using gradhealth::Quantity;
using gradhealth::TrainingStopped;

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// The texts of a run's interventions, with "step subject: " before each.
std::vector<std::string> interventions_in(const std::filesystem::path& file) {
  std::vector<std::string> texts;
  for (const gradhealth::Event& event : gradhealth::RunReader(file).events())
    if (event.kind == "intervention")
      texts.push_back(std::to_string(event.step) + " " + event.subject + ": " + event.text);
  return texts;
}

/// What the run was told while it trained, for messages of tests that fail.
std::string findings_in(const std::filesystem::path& file) {
  std::string texts;
  for (const gradhealth::Event& event : gradhealth::RunReader(file).events())
    if (event.kind == "finding") texts += std::to_string(event.step) + " " + event.text + "\n";
  return texts;
}

/// A classification whose batches and dropout depend on the step alone.
struct Training {
  ConvNet net;
  torch::optim::Adam optimizer{net->parameters(), torch::optim::AdamOptions(1e-3)};

  torch::Tensor loss(int step) {
    torch::manual_seed(100 + step);
    const torch::Tensor data = torch::randn({16, 1, 8, 8});
    return torch::cross_entropy_loss(net->forward(data), torch::randint(3, {16}));
  }
  torch::Tensor backward(int step, double scale = 1) {
    optimizer.zero_grad();
    const torch::Tensor now = scale * loss(step);
    now.backward();
    return now;
  }
  std::vector<torch::Tensor> weights() const {
    std::vector<torch::Tensor> copies;
    for (const torch::Tensor& parameter : net->parameters()) copies.push_back(parameter.detach().clone());
    return copies;
  }
  std::vector<torch::Tensor> buffers() const {
    std::vector<torch::Tensor> copies;
    for (const torch::Tensor& buffer : net->buffers()) copies.push_back(buffer.clone());
    return copies;
  }
  double gradient_norm() const {
    double squares = 0;
    for (const torch::Tensor& parameter : net->parameters())
      if (parameter.grad().defined()) squares += parameter.grad().pow(2).sum().item<double>();
    return std::sqrt(squares);
  }
};

Training new_training() {
  torch::manual_seed(21);
  Training training;
  training.net->dropout = 0.2;
  return training;
}

bool same(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  bool equal = a.size() == b.size();
  for (std::size_t i = 0; equal && i < a.size(); ++i) equal = torch::equal(a[i], b[i]);
  return equal;
}

}  // namespace

TEST_CASE("interventions that have nothing to do leave the training bit-identical", "[hooks]") {
  TemporaryDirectory directory;
  const auto train = [&](const std::string& file, const gradhealth::Interventions& wanted) {
    Training training = new_training();
    MonitorOptions options = every_step();
    options.interventions = wanted;
    std::optional<Monitor> monitor;
    if (!file.empty()) monitor.emplace(*training.net, training.optimizer, directory / file, options);
    for (int step = 0; step < 60; ++step) {
      const torch::Tensor loss = training.backward(step);
      if (monitor) {
        monitor->step(loss);
        CHECK_FALSE(monitor->should_stop());
        CHECK(monitor->update_is_finite());
      }
      training.optimizer.step();
    }
    if (monitor) {
      monitor->close();
      CHECK(interventions_in(directory / file).empty());
    }
    return training.weights();
  };
  const std::vector<torch::Tensor> bare = train("", {});
  CHECK(same(bare, train("off.h5", {})));
  gradhealth::Interventions wanted;
  wanted.stop = true;
  wanted.keep_healthy_every = 5;
  CHECK(same(bare, train("on.h5", wanted)));
}

TEST_CASE("an error stops the training where that is asked for, once", "[hooks]") {
  TemporaryDirectory directory;
  const auto train = [&](const std::string& file, bool stop) {
    Training training = new_training();
    MonitorOptions options = every_step();
    options.interventions.stop = stop;
    Monitor monitor(*training.net, training.optimizer, directory / file, options);
    std::vector<std::string> thrown;
    for (int step = 0; step < 30; ++step) {
      const torch::Tensor loss = training.backward(step, step == 10 ? kNaN : 1);
      try {
        monitor.step(loss);
      } catch (const TrainingStopped& stopped) {
        thrown.push_back(stopped.finding().rule);
        CHECK(stopped.finding().severity == gradhealth::Severity::kError);
        CHECK(std::string(stopped.what()).find(stopped.finding().message) != std::string::npos);
        CHECK(step > 10);
      }
      CHECK(monitor.should_stop() == (step > 10));
      training.optimizer.step();
    }
    monitor.close();
    CHECK(monitor.status().error.empty());
    CHECK(Rows(directory / file).rows.size() == 30);  // What was caught does not end the recording.
    return thrown;
  };
  CHECK(train("poll.h5", false).empty());
  CHECK(interventions_in(directory / "poll.h5").empty());
  const std::vector<std::string> thrown = train("stop.h5", true);
  REQUIRE_FALSE(thrown.empty());
  CHECK(thrown.size() < 10);
  const std::vector<std::string> events = interventions_in(directory / "stop.h5");
  REQUIRE(events.size() == thrown.size());
  CHECK(events[0] == "11 : action=stopped rule=" + thrown[0]);
}

TEST_CASE("an update that is not finite can be skipped with any optimizer", "[hooks]") {
  TemporaryDirectory directory;
  Training training = new_training();
  Monitor monitor(*training.net, training.optimizer, directory / "run.h5", every_step());
  for (int step = 0; step < 8; ++step) {
    const torch::Tensor loss = training.backward(step, step == 6 ? 1e20 : 1);
    if (step == 3) training.net->fc1->bias.mutable_grad()[2] = kNaN;
    if (step == 5) training.net->conv1->weight.mutable_grad()[1] = std::numeric_limits<float>::infinity();
    monitor.step(loss);
    const std::vector<torch::Tensor> before = training.weights();
    const bool finite = monitor.update_is_finite();
    CHECK(finite == (step != 3 && step != 5));  // Large is not infinite.
    if (finite) training.optimizer.step();
    CHECK(same(before, training.weights()) == !finite);
    for (const torch::Tensor& weight : training.net->parameters()) CHECK(weight.isfinite().all().item<bool>());
  }
  monitor.close();
  CHECK(interventions_in(directory / "run.h5") ==
        std::vector<std::string>{"3 fc1.bias: action=skipped", "5 conv1.weight: action=skipped"});
}

TEST_CASE("gradients are clipped at the percentile that the run has shown", "[hooks]") {
  TemporaryDirectory directory;
  Training training = new_training();
  MonitorOptions options = every_step();
  options.interventions.clip_percentile = 0.9;
  Monitor monitor(*training.net, training.optimizer, directory / "run.h5", options);
  std::vector<double> norms;
  std::vector<int> clipped;
  for (int step = 0; step < 40; ++step) {
    const torch::Tensor loss = training.backward(step, step == 10 || step == 30 ? 1000 : 1);
    const double before = training.gradient_norm();
    norms.push_back(before);
    std::vector<double> sorted = norms;
    sorted.pop_back();
    std::sort(sorted.begin(), sorted.end());
    monitor.step(loss);
    const double after = training.gradient_norm();
    if (after < 0.999 * before) {
      clipped.push_back(step);
      const double threshold = sorted[static_cast<std::size_t>(std::ceil(0.9 * static_cast<double>(step))) - 1];
      CHECK(std::abs(after / threshold - 1) < 1e-4);  // LibTorch's clipping is float32's.
    }
    training.optimizer.step();
  }
  monitor.close();
  INFO(findings_in(directory / "run.h5"));
  REQUIRE_FALSE(clipped.empty());
  CHECK(clipped[0] >= 20);
  CHECK(std::count(clipped.begin(), clipped.end(), 30) == 1);
  const std::vector<std::string> events = interventions_in(directory / "run.h5");
  CHECK(events.size() >= clipped.size());
  const Rows run(directory / "run.h5");
  CHECK(std::isnan(run.rows[10].at(Quantity::kClipThreshold)));
  CHECK(std::abs(run.rows[30].at(Quantity::kGlobalGradientNorm) / norms[30] - 1) < 1e-4);
  CHECK(run.rows[30].at(Quantity::kClipThreshold) < 0.1 * norms[30]);
}

TEST_CASE("a training can be rolled back to where it was healthy, with its optimizer and buffers", "[hooks]") {
  TemporaryDirectory directory;
  Training training = new_training();
  MonitorOptions options = every_step();
  options.interventions.keep_healthy_every = 5;
  Monitor monitor(*training.net, training.optimizer, directory / "run.h5", options);
  std::vector<std::vector<torch::Tensor>> weights;
  std::vector<std::vector<torch::Tensor>> buffers;
  CHECK_FALSE(monitor.roll_back());
  int step = 0;
  for (; step < 40 && !monitor.should_stop(); ++step) {
    const torch::Tensor loss = training.backward(step, step == 18 ? kNaN : 1);
    weights.push_back(training.weights());
    buffers.push_back(training.buffers());
    monitor.step(loss);
    training.optimizer.step();
  }
  REQUIRE(step == 20);
  REQUIRE(monitor.roll_back());
  INFO(findings_in(directory / "run.h5"));
  CHECK_FALSE(monitor.should_stop());
  CHECK(same(training.weights(), weights[15]));
  CHECK(same(training.buffers(), buffers[15]));
  // The same batches again lead to the same weights: the optimizer's moments and step counts are as they were.
  for (int again = 15; again < 18; ++again) {
    monitor.step(training.backward(again));
    training.optimizer.step();
    CHECK(same(training.weights(), weights[static_cast<std::size_t>(again) + 1]));
  }
  CHECK_FALSE(monitor.should_stop());
  monitor.close();
  CHECK(monitor.status().error.empty());
  CHECK(interventions_in(directory / "run.h5") == std::vector<std::string>{"19 : action=rolled-back to=15"});
}

TEST_CASE("a state from before the optimizer's first update can be gone back to", "[hooks]") {
  TemporaryDirectory directory;
  Training training = new_training();
  MonitorOptions options = every_step();
  options.interventions.keep_healthy_every = 100;
  Monitor monitor(*training.net, training.optimizer, directory / "run.h5", options);
  std::vector<std::vector<torch::Tensor>> weights;
  for (int round = 0; round < 2; ++round) {
    for (int step = 0; step < 5; ++step) {
      const torch::Tensor loss = training.backward(step);
      if (round == 0) weights.push_back(training.weights());
      CHECK(same(training.weights(), weights[static_cast<std::size_t>(step)]));
      monitor.step(loss);
      training.optimizer.step();
    }
    CHECK(monitor.roll_back());
    CHECK(same(training.weights(), weights[0]));
  }
}

TEST_CASE("interventions that cannot work are told before the training", "[hooks]") {
  TemporaryDirectory directory;
  ConvNet net;
  const auto refuses = [&](const std::function<void(MonitorOptions&)>& change) {
    MonitorOptions options = every_step();
    change(options);
    CHECK_THROWS_AS(Monitor(*net, directory / "run.h5", options), gradhealth::UsageError);
  };
  refuses([](MonitorOptions& options) { options.interventions.clip_percentile = 1.5; });
  refuses([](MonitorOptions& options) { options.interventions.clip_percentile = kNaN; });
  refuses([](MonitorOptions& options) { options.interventions.keep_healthy_every = -1; });
  refuses([](MonitorOptions& options) {
    options.interventions.stop = true;
    options.step = gradhealth::StepMode::kAutomatic;
  });
}
