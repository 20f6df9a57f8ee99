// One model in several threads, and several models.
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace nn = torch::nn;

nn::Sequential relu_net() { return nn::Sequential(nn::Linear(3, 4), nn::ReLU(), nn::Linear(4, 1)); }
nn::Sequential tanh_net() { return nn::Sequential(nn::Linear(6, 8), nn::Tanh(), nn::Linear(8, 3)); }

const std::vector<std::string> kNames{"0", "0:relu", "2"};

/// Lets threads pass once all of them have come, as often as wanted.
class Barrier {
 public:
  explicit Barrier(int threads) : threads_(threads) {}
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    const int round = round_;
    if (++waiting_ == threads_) {
      waiting_ = 0;
      ++round_;
      all_here_.notify_all();
    } else {
      all_here_.wait(lock, [&] { return round_ != round; });
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_here_;
  int threads_;
  int waiting_ = 0;
  int round_ = 0;
};

/// Examples for tanh_net(), by operators that would be recorded if a worker's thread were taken for the trainer's.
class Numbers : public torch::data::datasets::Dataset<Numbers> {
 public:
  torch::data::Example<> get(std::size_t index) override {
    const torch::Tensor x = torch::full({6}, static_cast<double>(index) / 32).relu_();
    return {x.mul(2).add_(0.1), torch::full({3}, 0.5)};
  }
  decltype(std::declval<const torch::data::datasets::TensorDataset&>().size()) size() const override { return 32; }
};

/// Trains a tanh_net() for twenty steps without random numbers. @returns the file's rows.
Rows train_alone(nn::Sequential net, const std::filesystem::path& path, StepMode mode) {
  torch::optim::SGD optimizer = sgd(*net);
  MonitorOptions options = every_step();
  options.step = mode;
  Monitor monitor(*net, optimizer, path, options);
  for (int step = 0; step < 20; ++step) {
    optimizer.zero_grad();
    const torch::Tensor input = torch::sin(torch::arange(60, torch::kFloat32) + step).view({10, 6});
    const torch::Tensor loss = net->forward(input).pow(2).mean();
    loss.backward();
    if (mode == StepMode::kExplicit) monitor.step(loss);
    optimizer.step();
  }
  monitor.close();
  return Rows(path);
}

}  // namespace

TEST_CASE("inference with gradients enabled in another thread leaves no trace while the model trains", "[hooks]") {
  torch::manual_seed(41);
  TemporaryDirectory directory;
  nn::Sequential net = relu_net();
  const torch::Tensor input = torch::randn({8, 3});
  Monitor monitor(*net, directory / "run.h5", every_step());
  std::atomic<bool> stop{false};
  std::atomic<int> inferences{0};
  std::thread inference([&] {
    for (; !stop; ++inferences) net->forward(100 * input);
  });
  int steps = 0;
  for (; steps < 20 || inferences < 20; ++steps) {
    net->zero_grad();
    const torch::Tensor loss = net->forward(input).pow(2).mean();
    loss.backward();
    monitor.step(loss);
  }
  stop = true;
  inference.join();
  monitor.close();
  CHECK(monitor.status().error.empty());
  const Rows run(directory / "run.h5");
  CHECK(run.names(Axis::kActivation) == kNames);
  for (std::size_t row = 1; row < run.rows.size(); ++row) {
    CHECK(run.rows[row].at(Quantity::kBatchSize) == 8);
    for (const auto quantity : {Quantity::kActivationRms, Quantity::kActivationGradientNorm})
      for (const std::string& name : kNames) CHECK(run.at(row, quantity, name) == run.at(0, quantity, name));
  }
}

TEST_CASE("passes of several threads over one model are micro-batches of one step, however they interleave",
          "[hooks]") {
  torch::manual_seed(42);
  constexpr int kThreads = 4;
  constexpr int kSteps = 25;
  TemporaryDirectory directory;
  nn::Sequential net = relu_net();
  const torch::Tensor input = torch::randn({8 * kThreads, 3});
  const auto loss_of = [&](const torch::Tensor& part) { return net->forward(part).pow(2).sum(); };
  Monitor monitor(*net, directory / "run.h5", every_step());
  loss_of(input).backward();
  monitor.step(torch::zeros({}));  // The same batch in one piece.

  Barrier barrier(kThreads + 1);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int step = 0; step < kSteps; ++step) {
        barrier.wait();
        // Gradients accumulate in the shared parameters, which is the trainer's to guard; activations are each pass's.
        std::vector<torch::Tensor> leaves = net->parameters();
        torch::autograd::grad({loss_of(input.slice(0, 8 * i, 8 * i + 8))}, leaves);
        barrier.wait();
      }
    });
  }
  for (int step = 0; step < kSteps; ++step) {
    barrier.wait();
    barrier.wait();
    monitor.step(torch::zeros({}));
  }
  for (std::thread& thread : threads) thread.join();
  monitor.close();
  CHECK(monitor.status().error.empty());

  const Rows run(directory / "run.h5");
  REQUIRE(run.rows.size() == kSteps + 1);
  CHECK(run.names(Axis::kActivation) == kNames);
  for (std::size_t row = 1; row < run.rows.size(); ++row) {
    CHECK(run.rows[row].at(Quantity::kBatchSize) == 8 * kThreads);
    for (const auto quantity : {Quantity::kActivationRms, Quantity::kActivationGradientNorm}) {
      for (const std::string& name : kNames) {
        const double whole = run.at(0, quantity, name);
        CHECK(std::fabs(run.at(row, quantity, name) - whole) <= 1e-5 * whole);
      }
    }
  }
}

TEST_CASE("a data loader's threads leave no trace", "[hooks]") {
  for (const StepMode mode : {StepMode::kExplicit, StepMode::kAutomatic}) {
    torch::manual_seed(46);
    TemporaryDirectory directory;
    nn::Sequential net = tanh_net();
    torch::optim::SGD optimizer = sgd(*net);
    auto loader = torch::data::make_data_loader(Numbers().map(torch::data::transforms::Stack<>()),
                                                torch::data::DataLoaderOptions().batch_size(8).workers(2));
    MonitorOptions options = every_step();
    options.step = mode;
    Monitor monitor(*net, optimizer, directory / "run.h5", options);
    for (int epoch = 0; epoch < 3; ++epoch) {
      for (auto& batch : *loader) {
        optimizer.zero_grad();
        const torch::Tensor loss = torch::mse_loss(net->forward(batch.data), batch.target);
        loss.backward();
        if (mode == StepMode::kExplicit) monitor.step(loss);
        optimizer.step();
      }
    }
    monitor.close();
    const Rows run(directory / "run.h5");
    REQUIRE(run.rows.size() == 12);
    CHECK(run.names(Axis::kActivation) == std::vector<std::string>{"0", "0:tanh", "2"});
    for (const StepRecord& row : run.rows) {
      CHECK(row.at(Quantity::kBatchSize) == 8);
      CHECK(row.at(Quantity::kGradientStage) == 0);
    }
  }
}

TEST_CASE("replicas in several threads are recorded as if each were alone", "[hooks]") {
  for (const StepMode mode : {StepMode::kExplicit, StepMode::kAutomatic}) {
    torch::manual_seed(47);
    TemporaryDirectory directory;
    const nn::Sequential original = tanh_net();
    const auto replica = [&] {
      return nn::Sequential(std::dynamic_pointer_cast<nn::SequentialImpl>(original->clone()));
    };
    const Rows alone = train_alone(replica(), directory / "alone.h5", mode);
    REQUIRE(alone.rows.size() == 20);
    std::vector<nn::Sequential> replicas;
    for (int i = 0; i < 3; ++i) replicas.push_back(replica());
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i)
      threads.emplace_back([&, i] { train_alone(replicas[i], directory / (std::to_string(i) + ".h5"), mode); });
    for (std::thread& thread : threads) thread.join();
    for (int i = 0; i < 3; ++i) {
      const Rows run(directory / (std::to_string(i) + ".h5"));
      REQUIRE(run.rows.size() == 20);
      for (const std::string& name : alone.names(Axis::kActivation))
        CHECK(run.at(19, Quantity::kActivationGradientNorm, name) ==
              alone.at(19, Quantity::kActivationGradientNorm, name));
      for (const std::string& name : alone.names(Axis::kParameter))
        for (const auto quantity : {Quantity::kGradientNorm, Quantity::kUpdateRatio})
          CHECK(run.at(18, quantity, name) == alone.at(18, quantity, name));
    }
  }
}

TEST_CASE("a module that several threads train in turns has one run", "[hooks]") {
  for (const StepMode mode : {StepMode::kExplicit, StepMode::kAutomatic}) {
    torch::manual_seed(48);
    TemporaryDirectory directory;
    nn::Sequential net = tanh_net();
    torch::optim::SGD optimizer = sgd(*net);
    MonitorOptions options = every_step();
    options.step = mode;
    Monitor monitor(*net, optimizer, directory / "run.h5", options);
    std::mutex turn;
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        for (int step = 0; step < 10; ++step) {
          const torch::Tensor input = torch::ones({4, 6}).mul_(0.5);
          const std::lock_guard<std::mutex> lock(turn);
          optimizer.zero_grad();
          const torch::Tensor loss = net->forward(input).pow(2).mean();
          loss.backward();
          if (mode == StepMode::kExplicit) monitor.step(loss);
          optimizer.step();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    monitor.close();
    CHECK(monitor.status().error.empty());
    const Rows run(directory / "run.h5");
    REQUIRE(run.rows.size() == 30);
    CHECK(run.rows[29].at(Quantity::kLoss) < run.rows[0].at(Quantity::kLoss));
    CHECK(run.rows[29].at(Quantity::kGradientStage) == 0);
  }
}
