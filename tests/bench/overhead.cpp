// What monitoring costs: the bare training loop against the default and against recording every step, interleaved in
// one process so that the machine's own moods cancel out. Prints figures, asserts nothing.
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <gradhealth/hooks.h>

namespace {

namespace nn = torch::nn;
using Clock = std::chrono::steady_clock;

constexpr int kBlock = 10;  // One recorded step of the default schedule.
constexpr int kWarmUp = 20;  // The default records these whole.

/// A residual block of two convolutions, as in ResNet-18.
struct BlockImpl : nn::Module {
  nn::Conv2d conv1, conv2;
  nn::BatchNorm2d norm1, norm2;
  nn::Sequential shortcut;

  BlockImpl(std::int64_t in, std::int64_t out, std::int64_t stride)
      : conv1(nn::Conv2dOptions(in, out, 3).stride(stride).padding(1).bias(false)),
        conv2(nn::Conv2dOptions(out, out, 3).padding(1).bias(false)),
        norm1(out),
        norm2(out) {
    register_module("conv1", conv1);
    register_module("conv2", conv2);
    register_module("norm1", norm1);
    register_module("norm2", norm2);
    if (in != out)
      shortcut = nn::Sequential(nn::Conv2d(nn::Conv2dOptions(in, out, 1).stride(stride).bias(false)), nn::BatchNorm2d(out));
    register_module("shortcut", shortcut);
  }

  torch::Tensor forward(const torch::Tensor& x) {
    torch::Tensor y = norm2(conv2(torch::relu(norm1(conv1(x)))));
    y += shortcut->is_empty() ? x : shortcut->forward(x);
    return torch::relu(y);
  }
};
TORCH_MODULE(Block);

nn::Sequential small_cnn() {
  return nn::Sequential(nn::Conv2d(nn::Conv2dOptions(1, 16, 3).padding(1)), nn::ReLU(), nn::MaxPool2d(2),
                        nn::Conv2d(nn::Conv2dOptions(16, 32, 3).padding(1)), nn::ReLU(), nn::MaxPool2d(2),
                        nn::Flatten(), nn::Linear(32 * 7 * 7, 128), nn::ReLU(), nn::Linear(128, 10));
}

nn::Sequential mlp() {
  return nn::Sequential(nn::Linear(784, 512), nn::ReLU(), nn::Linear(512, 512), nn::ReLU(), nn::Linear(512, 512),
                        nn::ReLU(), nn::Linear(512, 10));
}

nn::Sequential resnet18() {
  nn::Sequential net(nn::Conv2d(nn::Conv2dOptions(3, 64, 3).padding(1).bias(false)), nn::BatchNorm2d(64), nn::ReLU());
  std::int64_t in = 64;
  for (const std::int64_t out : {64, 128, 256, 512}) {
    net->push_back(Block(in, out, in == out ? 1 : 2));
    net->push_back(Block(out, out, 1));
    in = out;
  }
  net->push_back(nn::AdaptiveAvgPool2d(1));
  net->push_back(nn::Flatten());
  net->push_back(nn::Linear(512, 10));
  return net;
}

struct Workload {
  std::string name;
  std::function<nn::Sequential()> make;
  std::vector<std::int64_t> input;
  int rounds;
};

enum class Monitoring { kNone, kDefault, kEveryStep };

/// One model in training, monitored or not.
class Contestant {
 public:
  Contestant(const Workload& workload, Monitoring monitoring, const std::filesystem::path& file)
      : net_((torch::manual_seed(1), workload.make())),
        optimizer_(net_->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9)),
        input_(torch::randn(workload.input)),
        target_(torch::randint(10, {workload.input.front()})) {
    gradhealth::MonitorOptions options;
    options.messages = gradhealth::Messages::kNone;
    if (monitoring == Monitoring::kEveryStep) options.every = 1;
    if (monitoring != Monitoring::kNone) monitor_.emplace(*net_, optimizer_, file, options);
    steps(kWarmUp + 1);
  }

  /// Seconds for one step.
  double steps(int count) {
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < count; ++i) {
      optimizer_.zero_grad();
      const torch::Tensor loss = torch::cross_entropy_loss(net_->forward(input_), target_);
      loss.backward();
      if (monitor_) monitor_->step(loss);
      optimizer_.step();
    }
    return std::chrono::duration<double>(Clock::now() - start).count() / count;
  }

 private:
  nn::Sequential net_;
  torch::optim::SGD optimizer_;
  torch::Tensor input_;
  torch::Tensor target_;
  std::optional<gradhealth::Monitor> monitor_;
};

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string spread(std::vector<double> ratios) {
  std::sort(ratios.begin(), ratios.end());
  return fmt::format("{:.3f} ({:.3f}-{:.3f})", ratios[ratios.size() / 2], ratios[ratios.size() / 4],
                     ratios[ratios.size() * 3 / 4]);
}

void measure(const Workload& workload, double scale, const std::filesystem::path& directory) {
  std::vector<std::unique_ptr<Contestant>> contestants;
  for (const Monitoring monitoring : {Monitoring::kNone, Monitoring::kDefault, Monitoring::kEveryStep})
    contestants.push_back(std::make_unique<Contestant>(
        workload, monitoring, directory / fmt::format("{}-{}.h5", workload.name, static_cast<int>(monitoring))));
  std::vector<double> bare, with_default, with_every, added;
  std::mt19937 random(1);
  std::vector<std::size_t> order(contestants.size());
  std::iota(order.begin(), order.end(), 0);
  const int rounds = std::max(3, static_cast<int>(workload.rounds * scale));
  for (int round = 0; round < rounds; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    std::vector<double> seconds(contestants.size());
    for (const std::size_t who : order) {
      contestants[who]->steps(1);  // Not timed: brings this model's memory back into the caches.
      seconds[who] = contestants[who]->steps(kBlock);
    }
    bare.push_back(seconds[0]);
    with_default.push_back(seconds[1] / seconds[0]);
    with_every.push_back(seconds[2] / seconds[0]);
    added.push_back((seconds[1] - seconds[0]) * 1e6);
  }
  fmt::print("{:12} {:9.3f} ms   {:22} {:+8.1f} us   {:22}\n", workload.name, 1e3 * median(bare), spread(with_default),
             median(added), spread(with_every));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Ratios of monitored to bare step time: median (quartiles) of interleaved blocks of 10 steps."};
  double scale = 1;
  std::string only;
  app.add_option("--scale", scale, "Times the usual number of rounds")->capture_default_str();
  app.add_option("--only", only, "One workload: cnn, mlp or resnet18");
  CLI11_PARSE(app, argc, argv);
  // Memory that goes back to the system and is faulted in again moves the bare loop by several per cent.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
  torch::set_num_threads(1);
  const std::filesystem::path directory = std::filesystem::temp_directory_path() / "gradhealth-bench-overhead";
  std::filesystem::remove_all(directory);
  fmt::print("{:12} {:>12}   {:22} {:>11}   {:22}\n", "model", "bare step", "default / bare", "added", "every step / bare");
  for (const Workload& workload : {Workload{"cnn", &small_cnn, {64, 1, 28, 28}, 60},
                                   Workload{"mlp", &mlp, {128, 784}, 100},
                                   Workload{"resnet18", &resnet18, {32, 3, 32, 32}, 7}})
    if (only.empty() || only == workload.name) measure(workload, scale, directory);
  std::filesystem::remove_all(directory);
}
