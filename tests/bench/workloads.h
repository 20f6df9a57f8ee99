#pragma once
// The models that bench_overhead trains, from the smallest that anybody monitors to a ResNet-18.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <torch/torch.h>

namespace gradhealth::test {

struct Model {
  std::shared_ptr<torch::nn::Module> module;
  std::function<torch::Tensor(torch::Tensor)> forward;  ///< Batch × … → batch × 10 classes.
};

struct Workload {
  std::string name;
  std::function<Model()> make;
  std::vector<std::int64_t> input;  ///< Its shape, the batch first.
  int rounds;
  int launches = 5;  ///< New processes for all: where its memory lies can make one faster by per cents, for its life.
  int block = 10;    ///< Steps timed together, where the way of watching does not ask for more or fewer.
};

std::vector<Workload> workloads();

}  // namespace gradhealth::test
