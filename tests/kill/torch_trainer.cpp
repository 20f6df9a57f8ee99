// A small deterministic training, with something going wrong while it is recorded:
//   torch_trainer DIRECTORY MODE STEPS
// It records to DIRECTORY/runs/run.h5 and says on its standard output:
//   acknowledged 1 ROWS    so many rows are committed
//   failed 1 ERROR         what the monitor's status says at the end
//   weights BITS           a checksum of the weights after the last step
//   state STATE            of the monitor: 0 recording, 1 closed, 2 disabled
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include <hdf5.h>
#include <sys/wait.h>
#include <torch/torch.h>

#include <gradhealth/hooks.h>

#include "kill/faulty_memory.h"

namespace {

namespace fs = std::filesystem;
namespace nn = torch::nn;

constexpr std::int64_t kFaultStep = 30;

void say(const std::string& text) {
  const std::string line = text + "\n";
  if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) ::_exit(5);
}

/// FNV-1a over the bits of all weights.
std::uint64_t checksum(const nn::Sequential& net) {
  std::uint64_t sum = 14695981039346656037u;
  for (const torch::Tensor& parameter : net->parameters()) {
    const auto* bytes = static_cast<const unsigned char*>(parameter.data_ptr());
    for (std::int64_t i = 0; i < parameter.numel() * 4; ++i) sum = (sum ^ bytes[i]) * 1099511628211u;
  }
  return sum;
}

/// HDF5 files of the trainer's own, one after the other, in a thread of its own.
class OwnFiles {
 public:
  explicit OwnFiles(fs::path directory) : directory_(std::move(directory)), thread_([this] { write(); }) {}
  ~OwnFiles() {
    going_ = false;
    thread_.join();
  }

 private:
  void write() const {
    for (int i = 0; going_; ++i) {
      const hid_t file = H5Fcreate((directory_ / ("own" + std::to_string(i % 4) + ".h5")).c_str(), H5F_ACC_TRUNC,
                                   H5P_DEFAULT, H5P_DEFAULT);
      H5Fclose(file);
    }
  }

  fs::path directory_;
  std::atomic<bool> going_{true};
  std::thread thread_;
};

class Trainer {
 public:
  Trainer(fs::path directory, std::string mode) : directory_(std::move(directory)), mode_(std::move(mode)) {
    torch::set_num_threads(1);
    torch::manual_seed(3);
    net_ = nn::Sequential(nn::Linear(8, 16), nn::ReLU(), nn::Linear(16, 16), nn::Tanh(), nn::Linear(16, 2));
    optimizer_.emplace(net_->parameters(), torch::optim::AdamOptions(0.01));
    if (mode_ == "bare") return;
    gradhealth::MonitorOptions options;
    options.every = 1;
    if (mode_ == "power") options.durability = gradhealth::Durability::kPower;
    if (mode_ == "rule") {
      options.rules = gradhealth::catalogue();
      gradhealth::RuleInfo info;
      info.id = "a-rule-with-a-bug";
      options.rules.push_back(gradhealth::make_rule(
          info, [](const gradhealth::Run&, const gradhealth::StepRecord& record) -> std::optional<gradhealth::Finding> {
            if (record.step == kFaultStep) throw std::logic_error("a bug in a rule");
            return std::nullopt;
          }));
    }
    fs::create_directories(directory_ / "runs");
    if (mode_ == "existing") std::ofstream(file()) << "precious";
    monitor_.emplace(*net_, *optimizer_, file(), options);
    if (mode_ == "two") second_.emplace(*net_, *optimizer_, file(), options);
    if (mode_ == "hdf5") own_files_.emplace(directory_);
  }

  void train(std::int64_t steps) {
    for (std::int64_t step = 0; step < steps; ++step) {
      const torch::Tensor input = torch::randn({16, 8});
      optimizer_->zero_grad();
      const torch::Tensor loss = torch::mse_loss(net_->forward(input), input.slice(1, 0, 2).sin());
      loss.backward();
      if (step == kFaultStep) break_something();
      record(loss);
      optimizer_->step();
      // Time for the writer to meet what has been broken.
      if (step >= kFaultStep && mode_ != "bare" && mode_ != "forever" && mode_ != "record") ::usleep(10'000);
    }
    say("weights " + std::to_string(checksum(net_)));
  }

  void close() {
    if (!monitor_) return;
    if (mode_ == "exit") std::exit(0);
    try {
      monitor_->close();
    } catch (const std::exception&) {  // The status has it.
    }
    acknowledge();
    const gradhealth::MonitorStatus status = monitor_->status();
    if (!status.error.empty()) say("failed 1 " + status.error);
    say("state " + std::to_string(static_cast<int>(status.state)));
  }

 private:
  fs::path file() const { return directory_ / "runs/run.h5"; }

  void record(const torch::Tensor& loss) {
    if (!monitor_) return;
    if (mode_.rfind("memory", 0) == 0 && ++steps_ == kFaultStep) {
      // Once: LibTorch's own guards allocate in their destructors, and without memory end any program.
      using Memory = gradhealth::test::FailingMemory;
      const Memory failing(std::atol(mode_.c_str() + 6), Memory::Threads::kThis, Memory::Failing::kOnce);
      monitor_->step(loss);
    } else {
      monitor_->step(loss);
    }
    if (second_) second_->step(loss);
    acknowledge();
  }

  void acknowledge() {
    const std::int64_t committed = monitor_->status().committed_steps;
    if (committed == acknowledged_) return;
    acknowledged_ = committed;
    say("acknowledged 1 " + std::to_string(committed));
  }

  void break_something() {
    if (mode_ == "delete") fs::remove(file());
    if (mode_ == "directory") fs::remove_all(directory_ / "runs");
    if (mode_ == "cut") fs::resize_file(file(), 4096 * 3);
    if (mode_ == "abort") std::abort();
    if (mode_ != "fork") return;
    if (::fork() == 0) {
      // The child goes on for a while, and leaves as a worker does. LibTorch allows no backward pass in it.
      for (int i = 0; i < 5; ++i) monitor_->step(net_->forward(torch::ones({4, 8})).sum());
      std::exit(0);
    }
    int status = 0;
    ::wait(&status);
    if (status != 0) say("failed 2 the child ended with " + std::to_string(status));
  }

  fs::path directory_;
  std::string mode_;
  nn::Sequential net_{nullptr};
  std::optional<torch::optim::Adam> optimizer_;
  std::optional<gradhealth::Monitor> monitor_;
  std::optional<gradhealth::Monitor> second_;
  std::optional<OwnFiles> own_files_;
  std::int64_t acknowledged_ = -1;
  std::int64_t steps_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  Trainer trainer(argv[1], argv[2]);
  trainer.train(std::atoll(argv[3]));
  trainer.close();
}
