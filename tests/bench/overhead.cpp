// What monitoring costs: the bare training loop against the monitor's settings, LibTorch's anomaly detection and
// statistics made of tensor operators, in blocks of steps that take turns so that the machine's own moods cancel out.
// Each has a process of its own: monitors that share one look at each other's operators, and at the bare loop's. Prints
// figures, asserts nothing.
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <torch/csrc/autograd/anomaly_mode.h>
#include <torch/torch.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <gradhealth/hooks.h>

#include "bench/workloads.h"

using gradhealth::test::Model;
using gradhealth::test::Workload;
using gradhealth::test::workloads;

namespace {

constexpr int kWarmUp = 20;           // The default records these whole.
constexpr int kSettled = 5;           // Recorded steps at equal distances, after which the default schedule is settled.
constexpr int kMostSettling = 20000;  // Steps that are spent on that,
constexpr double kMostSeconds = 60;   // and seconds.
constexpr int kProbesBlock = 10;      // Recorded steps, one of which has the probe.
constexpr int kAnomalyRounds = 1;     // LibTorch takes a backtrace of every operator: tens of milliseconds a step.
constexpr std::int64_t kNever = std::int64_t{1} << 40;

double seconds(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// Processor time, so that what else runs on the machine does not count.
struct Seconds {
  double step = 0;  ///< Of the training thread, which LibTorch differentiates on as well: what a step takes.
  double all = 0;   ///< Of all threads: with the one that writes the file, for a trainer that needs every core.

  static Seconds now() { return {seconds(CLOCK_THREAD_CPUTIME_ID), seconds(CLOCK_PROCESS_CPUTIME_ID)}; }
  Seconds since(const Seconds& start, int steps) const {
    return {(step - start.step) / steps, (all - start.all) / steps};
  }
};

/// How a loop is watched.
enum class Watch {
  kNothing,
  kBetween,
  kDefault,
  kAutomatic,
  kEveryStep,
  kEveryStepExact,
  kProbes,
  kAnomalyMode,
  kOperators
};

struct Column {
  Watch watch;
  const char* name;
};

/// A further way to watch is a line here, its options in `options_of`, and what it does differently in `Contestant`.
constexpr std::array<Column, 9> kColumns{{{Watch::kNothing, "bare loop"},
                                          {Watch::kBetween, "between recorded steps"},
                                          {Watch::kDefault, "default"},
                                          {Watch::kAutomatic, "default, no call"},
                                          {Watch::kEveryStep, "every step"},
                                          {Watch::kEveryStepExact, "every step, exact"},
                                          {Watch::kProbes, "every step, probe in 10"},
                                          {Watch::kAnomalyMode, "DetectAnomalyGuard"},
                                          {Watch::kOperators, "tensor operators"}}};

std::optional<gradhealth::MonitorOptions> options_of(Watch watch) {
  gradhealth::MonitorOptions options;
  options.messages = gradhealth::Messages::kNone;
  switch (watch) {
    case Watch::kBetween: options.every = kNever; return options;
    case Watch::kDefault: return options;
    case Watch::kAutomatic: options.step = gradhealth::StepMode::kAutomatic; return options;
    case Watch::kEveryStep: options.every = 1; return options;
    case Watch::kEveryStepExact:
      options.every = 1;
      options.statistics = gradhealth::Statistics::kExact;
      return options;
    case Watch::kProbes:
      options.every = 1;
      options.probe_every = 10;
      return options;
    default: return std::nullopt;
  }
}

/// The statistics of every parameter as one writes them down by hand.
double by_operators(const std::vector<torch::Tensor>& parameters) {
  const torch::NoGradGuard no_grad;
  double sum = 0;
  for (const torch::Tensor& parameter : parameters) {
    for (const torch::Tensor& values : {parameter, parameter.grad()}) {
      if (!values.defined()) continue;
      sum += values.norm().item<double>() + values.abs().max().item<double>() + values.mean().item<double>();
      sum += values.isfinite().all().item<bool>() ? 0 : 1;
    }
  }
  return sum;
}

/// One model in training.
class Contestant {
 public:
  Contestant(const Workload& workload, Watch watch, const std::filesystem::path& file)
      : watch_(watch),
        model_((torch::manual_seed(1), workload.make())),
        parameters_(model_.module->parameters()),
        optimizer_(parameters_, torch::optim::SGDOptions(0.01).momentum(0.9)),
        input_(torch::randn(workload.input)),
        target_(torch::randint(10, {workload.input.front()})) {
    if (const std::optional<gradhealth::MonitorOptions> options = options_of(watch))
      monitor_.emplace(*model_.module, optimizer_, file, *options);
    steps(watch == Watch::kAnomalyMode ? 1 : kWarmUp + 1);
    block_ = workload.block;
    if (watch == Watch::kAnomalyMode) block_ = 1;
    if (watch == Watch::kProbes) block_ = kProbesBlock;
    if (watch == Watch::kDefault || watch == Watch::kAutomatic) settle();
  }

  /// Steps to be timed together: as many as it takes to see once what does not happen in each of them.
  int block() const { return block_; }

  /// The same ratio as the monitor sees it: by the clock, which it reads itself, over all steps so far.
  double believed() const {
    if (!monitor_) return std::numeric_limits<double>::quiet_NaN();
    const double own = monitor_->status().own_seconds;
    return elapsed_ / (elapsed_ - own);
  }

  /// Of one step, on average over `count`.
  Seconds steps(int count) {
    const Seconds start = Seconds::now();
    const std::chrono::steady_clock::time_point clock_start = std::chrono::steady_clock::now();
    for (int i = 0; i < count; ++i) step();
    elapsed_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - clock_start).count();
    return Seconds::now().since(start, count);
  }

 private:
  void step() {
    optimizer_.zero_grad();
    {
      std::optional<torch::autograd::DetectAnomalyGuard> guard;
      if (watch_ == Watch::kAnomalyMode) guard.emplace();
      loss_ = torch::cross_entropy_loss(model_.forward(input_), target_);
      backward();
    }
    if (watch_ == Watch::kOperators) seen_ += by_operators(parameters_);
    if (monitor_ && watch_ != Watch::kAutomatic) monitor_->step(loss_);
    optimizer_.step();
    loss_ = torch::Tensor();
  }

  void backward() {
    if (watch_ == Watch::kProbes)
      monitor_->backward(loss_);
    else
      loss_.backward();
  }

  /// Trains until the schedule, which the budget spaces out, has found its interval, and makes that the block.
  void settle() {
    const double start = elapsed_;
    int since = 0;
    int equal = 0;
    std::int64_t recorded = monitor_->status().recorded_steps;
    for (int i = 0; i < kMostSettling && equal < kSettled && elapsed_ - start < kMostSeconds; ++i) {
      steps(1);
      ++since;
      const std::int64_t now = monitor_->status().recorded_steps;
      if (now == recorded) continue;
      recorded = now;
      equal = since == block_ ? equal + 1 : 1;
      block_ = std::exchange(since, 0);
    }
  }

  Watch watch_;
  Model model_;
  std::vector<torch::Tensor> parameters_;
  torch::optim::SGD optimizer_;
  torch::Tensor input_;
  torch::Tensor target_;
  torch::Tensor loss_;
  double seen_ = 0;
  double elapsed_ = 0;
  int block_ = 1;
  std::optional<gradhealth::Monitor> monitor_;
};

/// A contestant in a process of its own, which trains when it is told to.
class Apart {
 public:
  struct Block {
    Seconds seconds;  ///< A step.
    double believed;
    int steps;
  };

  Apart(const Workload& workload, Watch watch, const std::filesystem::path& file) {
    int orders[2], replies[2];
    if (pipe(orders) != 0 || pipe(replies) != 0) throw std::runtime_error("no pipe can be made");
    process_ = fork();
    if (process_ < 0) throw std::runtime_error("no process can be made");
    orders_ = orders[1];
    replies_ = replies[0];
    if (process_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      close(orders[1]);
      close(replies[0]);
      serve(workload, watch, file, orders[0], replies[1]);
    }
    close(orders[0]);
    close(replies[1]);
    char ready = 0;
    take(&ready, sizeof ready);
  }
  Apart(const Apart&) = delete;
  Apart& operator=(const Apart&) = delete;
  ~Apart() {
    // Closing the pipe would not end it: those that were made later have inherited its other end.
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
    close(orders_);
    close(replies_);
  }

  Block train() {
    const char order = 1;
    if (write(orders_, &order, sizeof order) != sizeof order) throw std::runtime_error("a contestant has ended");
    Block block;
    take(&block, sizeof block);
    return block;
  }

 private:
  [[noreturn]] static void serve(const Workload& workload, Watch watch, const std::filesystem::path& file, int orders,
                                 int replies) {
    try {
      Contestant contestant(workload, watch, file);
      char order = 1;
      bool heard = write(replies, &order, sizeof order) == sizeof order;
      while (heard && read(orders, &order, sizeof order) == sizeof order) {
        // Not timed: brings this model's memory back into the caches.
        if (watch != Watch::kAnomalyMode) contestant.steps(1);
        const Seconds seconds = contestant.steps(contestant.block());
        const Block block{seconds, contestant.believed(), contestant.block()};
        heard = write(replies, &block, sizeof block) == sizeof block;
      }
    } catch (const std::exception& error) {
      fmt::print(stderr, "bench_overhead: {}\n", error.what());
    }
    _exit(0);
  }

  void take(void* memory, std::size_t size) {
    if (read(replies_, memory, size) != static_cast<ssize_t>(size)) throw std::runtime_error("a contestant has ended");
  }

  pid_t process_ = -1;
  int orders_ = -1;
  int replies_ = -1;
};

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

using Blocks = std::vector<std::vector<Apart::Block>>;  ///< By column, in the order of the rounds.

void print(const Workload& workload, const Blocks& blocks) {
  const std::vector<Apart::Block>& bare = blocks[0];
  std::vector<double> seconds;
  for (const Apart::Block& block : bare) seconds.push_back(block.seconds.step);
  fmt::print("{:12} {:23} {:9.3f} ms\n", workload.name, kColumns[0].name, 1e3 * quantile(seconds, 0.5));
  for (std::size_t who = 1; who < blocks.size(); ++who) {
    std::vector<double> ratios, of_all, added;
    for (std::size_t i = 0; i < blocks[who].size(); ++i) {
      const Apart::Block& beside = bare[i * bare.size() / blocks[who].size()];  // Of the same round, or a near one.
      ratios.push_back(blocks[who][i].seconds.step / beside.seconds.step);
      of_all.push_back(blocks[who][i].seconds.all / beside.seconds.all);
      added.push_back(1e6 * (blocks[who][i].seconds.all - beside.seconds.all));
    }
    fmt::print("{:12} {:23} {:9.3f}  ({:.3f}-{:.3f})  {:9.3f}  {:+10.1f} us  {:5.3f}  {:4}\n", "", kColumns[who].name,
               quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75), quantile(of_all, 0.5),
               quantile(added, 0.5), blocks[who].back().believed, blocks[who].back().steps);
  }
  std::fflush(stdout);
}

void train_in_turns(const Workload& workload, int rounds, const std::filesystem::path& directory, Blocks& blocks) {
  std::vector<std::unique_ptr<Apart>> contestants;
  for (const Column& column : kColumns)
    contestants.push_back(std::make_unique<Apart>(
        workload, column.watch, directory / fmt::format("{}-{}.h5", workload.name, static_cast<int>(column.watch))));
  std::mt19937 random(1);
  std::vector<std::size_t> order(contestants.size());
  std::iota(order.begin(), order.end(), 0);
  for (int round = 0; round < rounds; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t who : order)
      if (kColumns[who].watch != Watch::kAnomalyMode || round < kAnomalyRounds)
        blocks[who].push_back(contestants[who]->train());
  }
}

void measure(const Workload& workload, double scale, const std::filesystem::path& directory) {
  Blocks blocks(kColumns.size());
  const int rounds = std::max(2, static_cast<int>(workload.rounds * scale) / workload.launches);
  for (int launch = 0; launch < workload.launches; ++launch) train_in_turns(workload, rounds, directory, blocks);
  print(workload, blocks);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Step times as ratios to the bare loop: median (quartiles) of blocks of steps that take turns, in processor time "
      "of\n"
      "the training thread; the median ratio and the median of the time added to a step in processor time of all "
      "threads;\n"
      "the ratio that the monitor believes in; the steps of a block, of which one is recorded by default."};
  double scale = 1;
  std::string only;
  app.add_option("--scale", scale, "Times the usual number of rounds")->capture_default_str();
  app.add_option("--only", only, "One workload: tiny, cnn, mlp, lstm, transformer or resnet18");
  CLI11_PARSE(app, argc, argv);
  // OpenBLAS reads it when it is loaded: its threads wait by spinning, which counts as processor time.
  if (std::getenv("OPENBLAS_NUM_THREADS") == nullptr) {
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    execv(std::filesystem::read_symlink("/proc/self/exe").c_str(), argv);
  }
  // Memory that goes back to the system and is faulted in again moves the bare loop by several per cent.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
  torch::set_num_threads(1);
  const std::filesystem::path directory = std::filesystem::temp_directory_path() / "gradhealth-bench-overhead";
  std::filesystem::remove_all(directory);
  for (const Workload& workload : workloads())
    if (only.empty() || only == workload.name) measure(workload, scale, directory);
  std::filesystem::remove_all(directory);
}
