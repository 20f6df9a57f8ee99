// One rank of a data-parallel training over c10d's Gloo, with the monitor's own group beside the trainer's.
//   rank_trainer FAULT RANK WORLD_SIZE FOLDER STEPS
// The run goes to FOLDER/run; FOLDER/weights-RANK holds the final weights' bytes.
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include <torch/torch.h>
#include <torch/csrc/distributed/c10d/FileStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <gradhealth/hooks.h>
#include <gradhealth/hooks_ranks.h>

namespace {

using Group = c10::intrusive_ptr<c10d::ProcessGroupGloo>;

Group group(const c10::intrusive_ptr<c10d::Store>& store, const std::string& name, int rank, int size) {
  auto options = c10d::ProcessGroupGloo::Options::create(std::chrono::seconds(20));
  options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
  const auto own = c10::make_intrusive<c10d::PrefixStore>(name, store);
  return c10::make_intrusive<c10d::ProcessGroupGloo>(own, rank, size, options);
}

void sum(const Group& group, const torch::Tensor& tensor) {
  std::vector<torch::Tensor> one{tensor};
  group->allreduce(one)->wait();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const std::string fault = argv[1];
  const int rank = std::stoi(argv[2]);
  const int size = std::stoi(argv[3]);
  const std::filesystem::path folder = argv[4];
  const int steps = std::stoi(argv[5]);
  torch::set_num_threads(1);

  auto store = c10::make_intrusive<c10d::FileStore>((folder / "store").string(), size);
  const Group reductions = group(store, "trainer", rank, size);
  const bool exchanged = fault.find("files-only") == std::string::npos;

  // Each process draws its own weights, as a trainer does that has forgotten to broadcast them.
  torch::manual_seed(fault == "no-broadcast" ? rank : 0);
  torch::nn::Sequential net(torch::nn::Linear(8, 32), torch::nn::ReLU(), torch::nn::Linear(32, 32), torch::nn::ReLU(),
                            torch::nn::Linear(32, 3));
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));

  gradhealth::MonitorOptions options;
  options.every = 1;
  if (fault != "bare") {
    options.ranks.rank = rank;
    options.ranks.world_size = size;
    if (exchanged) options.ranks = gradhealth::ranks_of(group(store, "monitor", rank, size));
  }
  std::unique_ptr<gradhealth::Monitor> monitor;
  if (fault != "bare") monitor = std::make_unique<gradhealth::Monitor>(*net, optimizer, folder / "run.h5", options);

  auto generator = at::detail::createCPUGenerator(1000 + rank);  // Every rank has data of its own.
  const torch::Tensor centres = torch::randn({3, 8}, at::detail::createCPUGenerator(7));
  try {
    for (int step = 0; step < steps; ++step) {
      const torch::Tensor target = torch::randint(0, 3, {32}, generator, torch::kLong);
      torch::Tensor input = centres.index_select(0, target) + 0.8 * torch::randn({32, 8}, generator);
      if (fault == "nan-data" && rank == 1 && step == 30) input[3][2] = std::numeric_limits<float>::quiet_NaN();
      if (fault == "killed" && rank == 1 && step == 30) {
        std::this_thread::sleep_for(std::chrono::milliseconds(600));  // What was recorded is in the file.
        raise(SIGKILL);
      }
      optimizer.zero_grad();
      torch::Tensor loss = torch::nn::functional::cross_entropy(net->forward(input), target);
      loss.backward();
      if (fault.find("no-reduce") == std::string::npos || rank == 0)
        for (torch::Tensor& parameter : net->parameters()) {
          sum(reductions, parameter.grad());
          parameter.mutable_grad().div_(size);
        }
      else  // Takes part, so that nobody waits, and uses what is its own.
        for (torch::Tensor& parameter : net->parameters()) sum(reductions, parameter.grad().clone());
      if (monitor) monitor->step(loss);
      optimizer.step();
    }
  } catch (const std::exception& error) {
    std::cerr << "rank " << rank << " ends: " << error.what() << '\n';
    return 3;
  }
  if (monitor) monitor->close();
  std::ofstream weights(folder / ("weights-" + std::to_string(rank)), std::ios::binary);
  for (const torch::Tensor& parameter : net->parameters()) {
    const torch::Tensor dense = parameter.detach().contiguous();
    weights.write(static_cast<const char*>(dense.data_ptr()), static_cast<std::streamsize>(dense.nbytes()));
  }
  return 0;
}
