// One model in several threads.
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <torch/torch.h>

#include "hooks/models.h"
#include "support/catch.h"

using namespace gradhealth::test;
using gradhealth::Axis;
using gradhealth::Monitor;
using gradhealth::Quantity;

namespace {

torch::nn::Sequential small_net() {
  return torch::nn::Sequential(torch::nn::Linear(3, 4), torch::nn::ReLU(), torch::nn::Linear(4, 1));
}

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

}  // namespace

TEST_CASE("inference with gradients enabled in another thread leaves no trace while the model trains", "[hooks]") {
  torch::manual_seed(41);
  TemporaryDirectory directory;
  torch::nn::Sequential net = small_net();
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
  torch::nn::Sequential net = small_net();
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
