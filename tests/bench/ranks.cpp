// What comparing the ranks costs: two processes on the loopback device train one model data-parallel over Gloo, with
// several ways to watch it interleaved. Prints rank 0's figures, asserts nothing.
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <gradhealth/hooks.h>
#include <gradhealth/hooks_ranks.h>

namespace {

namespace nn = torch::nn;
using Group = c10::intrusive_ptr<c10d::ProcessGroupGloo>;

constexpr int kRanks = 2;
constexpr int kBlock = 10;

struct Watch {
  const char* name;
  bool monitored;
  bool replica;    ///< Weights have fingerprints.
  bool exchanged;  ///< Those are compared while it trains.
};

constexpr std::array<Watch, 4> kWatches{{{"bare loop", false, false, false},
                                         {"every step, one process", true, false, false},
                                         {"every step, fingerprints", true, true, false},
                                         {"every step, exchange", true, true, true}}};

/// Of all threads, Gloo's and the writer's among them.
double seconds_used() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

class Contestant {
 public:
  Contestant(const Watch& watch, const std::filesystem::path& folder, int rank, std::int64_t width,
             const c10::intrusive_ptr<c10d::Store>& store)
      : store_(store), rank_(rank), reductions_(group(fmt::format("{} reductions", watch.name))) {
    torch::manual_seed(1);
    net_ = nn::Sequential(nn::Linear(784, width), nn::ReLU(), nn::Linear(width, width), nn::ReLU(),
                          nn::Linear(width, width), nn::ReLU(), nn::Linear(width, 10));
    optimizer_.emplace(net_->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9));
    data_ = torch::randn({64, 784});
    target_ = torch::randint(10, {64});
    if (!watch.monitored) return;
    gradhealth::MonitorOptions options;
    options.every = 1;
    options.messages = gradhealth::Messages::kNone;
    options.ranks.world_size = watch.replica ? kRanks : 1;
    options.ranks.rank = watch.replica ? rank : 0;
    if (watch.exchanged) options.ranks = gradhealth::ranks_of(group(fmt::format("{} monitor", watch.name)));
    monitor_.emplace(*net_, *optimizer_, folder / fmt::format("{}-{}.h5", watch.name, rank), options);
  }

  /// Processor time and time of one step, on average over a block of them.
  std::pair<double, double> block() {
    const double start = seconds_used();
    const auto clock = std::chrono::steady_clock::now();
    for (int i = 0; i < kBlock; ++i) step();
    return {(seconds_used() - start) / kBlock,
            std::chrono::duration<double>(std::chrono::steady_clock::now() - clock).count() / kBlock};
  }

 private:
  Group group(const std::string& name) {
    auto options = c10d::ProcessGroupGloo::Options::create(std::chrono::seconds(60));
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
    return c10::make_intrusive<c10d::ProcessGroupGloo>(c10::make_intrusive<c10d::PrefixStore>(name, store_), rank_,
                                                       kRanks, options);
  }

  void step() {
    optimizer_->zero_grad();
    const torch::Tensor loss = torch::cross_entropy_loss(net_->forward(data_), target_);
    loss.backward();
    for (torch::Tensor& parameter : net_->parameters()) {
      std::vector<torch::Tensor> one{parameter.grad()};
      reductions_->allreduce(one)->wait();
      parameter.mutable_grad().div_(kRanks);
    }
    if (monitor_) monitor_->step(loss);
    optimizer_->step();
  }

  c10::intrusive_ptr<c10d::Store> store_;
  int rank_;
  Group reductions_;
  nn::Sequential net_;
  std::optional<torch::optim::SGD> optimizer_;
  torch::Tensor data_;
  torch::Tensor target_;
  std::optional<gradhealth::Monitor> monitor_;
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

void measure(const std::filesystem::path& folder, int rank, std::int64_t width, int rounds) {
  torch::set_num_threads(1);
  const c10::intrusive_ptr<c10d::Store> store =
      c10::make_intrusive<c10d::FileStore>((folder / "store").string(), kRanks);
  std::vector<std::unique_ptr<Contestant>> contestants;
  for (const Watch& watch : kWatches)
    contestants.push_back(std::make_unique<Contestant>(watch, folder, rank, width, store));
  std::array<std::vector<double>, kWatches.size()> processor, clock;
  for (int round = 0; round <= rounds; ++round)
    for (std::size_t who = 0; who < kWatches.size(); ++who) {
      const auto [used, passed] = contestants[who]->block();
      if (round == 0) continue;  // The first steps of a run cost more.
      processor[who].push_back(used);
      clock[who].push_back(passed);
    }
  if (rank != 0) return;
  for (std::size_t who = 0; who < kWatches.size(); ++who) {
    std::vector<double> ratios;
    for (std::size_t round = 0; round < processor[who].size(); ++round)
      ratios.push_back(processor[who][round] / processor[0][round]);
    fmt::print("{:26} {:8.3f} ms of the processor, {:.3f} of the bare loop's; {:8.3f} ms by the clock\n",
               kWatches[who].name, 1e3 * median(processor[who]), median(ratios), 1e3 * median(clock[who]));
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures what comparing the ranks of a training costs");
  std::int64_t width = 512;
  int rounds = 30;
  app.add_option("--width", width, "Of the hidden layers of 784-W-W-W-10")->capture_default_str();
  app.add_option("--rounds", rounds, "Blocks of ten steps each")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / fmt::format("gradhealth-bench-ranks-{}", getpid());
  std::filesystem::create_directories(folder);
  const pid_t other = fork();  // Before LibTorch has threads.
  if (other < 0) return 1;
  measure(folder, other == 0 ? 1 : 0, width, rounds);
  if (other == 0) return 0;
  waitpid(other, nullptr, 0);
  std::filesystem::remove_all(folder);
}
