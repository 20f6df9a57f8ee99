// Whether a training of very many recorded steps stays what it was: memory, the size of the file and the speed, along
// the way. What the tools make of the file: bench_check --file. Prints figures, asserts nothing.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include <torch/torch.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <gradhealth/hooks.h>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kBatch = 16;
constexpr std::int64_t kInputs = 16;

double mebibytes(std::uintmax_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

/// Memory of this process that is its own and in use now.
double resident() {
  std::ifstream statm("/proc/self/statm");
  std::uintmax_t size = 0, resident = 0, shared = 0;
  statm >> size >> resident >> shared;
  return mebibytes((resident - shared) * static_cast<std::uintmax_t>(sysconf(_SC_PAGESIZE)));
}

void train(std::int64_t steps, const std::filesystem::path& file, bool monitored) {
  torch::manual_seed(1);
  torch::set_num_threads(1);
  torch::nn::Sequential net(torch::nn::Linear(kInputs, 32), torch::nn::ReLU(), torch::nn::Linear(32, 10));
  torch::nn::Linear teacher(kInputs, 10);
  torch::optim::SGD optimizer(net->parameters(), 0.01);
  gradhealth::MonitorOptions options;
  options.every = 1;
  options.max_file_bytes = std::size_t{64} << 30;
  std::optional<gradhealth::Monitor> monitor;
  if (monitored) monitor.emplace(*net, optimizer, file, options);

  fmt::print("{:>9} {:>9} {:>12} {:>10} {:>9}\n", "step", "us/step", "memory/MiB", "file/MiB", "dropped");
  const std::int64_t part = std::max<std::int64_t>(steps / 20, 1);
  auto begin = Clock::now();
  for (std::int64_t step = 0; step < steps; ++step) {
    const torch::Tensor data = torch::randn({kBatch, kInputs});
    torch::Tensor target;
    {
      const torch::NoGradGuard no_grad;
      target = teacher(data).argmax(1);
    }
    optimizer.zero_grad();
    const torch::Tensor loss = torch::cross_entropy_loss(net->forward(data), target);
    loss.backward();
    if (monitor) monitor->step(loss);
    optimizer.step();
    if ((step + 1) % part != 0) continue;
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    fmt::print("{:>9} {:>9.0f} {:>12.1f} {:>10.1f} {:>9}\n", step + 1, 1e6 * seconds / static_cast<double>(part),
               resident(), monitor ? mebibytes(std::filesystem::file_size(monitor->status().path)) : 0.0,
               monitor ? monitor->status().dropped_steps : 0);
    std::fflush(stdout);
    begin = Clock::now();
  }
  if (!monitor) return;
  monitor->close();
  fmt::print("closed: {} rows, {:.1f} MiB\n", monitor->status().committed_steps,
             mebibytes(std::filesystem::file_size(monitor->status().path)));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Trains a small model for very long, every step recorded");
  std::int64_t steps = 1'000'000;
  std::string file = "long-run.h5";
  bool bare = false;
  app.add_option("--steps", steps, "Steps of the training")->capture_default_str();
  app.add_option("--file", file, "The run file")->capture_default_str();
  app.add_flag("--bare", bare, "Without a monitor, for comparison");
  CLI11_PARSE(app, argc, argv);
  train(steps, file, !bare);
}
