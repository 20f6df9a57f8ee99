// The code of every recommendation that the tests of the rules bring about, each in a function with what a trainer has
// around it. That this compiles is the test.
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/torch.h>

#include <chrono>
#include <cmath>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gradhealth/hooks.h>

namespace {

/// A trainer's model: whatever recommendations call by name.
struct NetImpl : torch::nn::Module {
  torch::nn::Linear fc1 = register_module("fc1", torch::nn::Linear(4, 4));
  torch::Tensor forward(const torch::Tensor& x) { return fc1(x); }
};
TORCH_MODULE(Net);

using Dataset = torch::data::datasets::MNIST;
auto make_loader() {
  return torch::data::make_data_loader(Dataset("data").map(torch::data::transforms::Stack<>()), 64);
}
using Loader = decltype(make_loader());

/// What a forward() of the synthetic runs' models has by name.
[[maybe_unused]] torch::nn::Linear fc0{nullptr}, fc1{nullptr}, fc2{nullptr}, fc3{nullptr};

/// What a sequence model has by name.
[[maybe_unused]] torch::nn::Embedding embedding{nullptr};
[[maybe_unused]] torch::nn::TransformerEncoder encoder{nullptr};
[[maybe_unused]] torch::Tensor indices, source;

/// What a data-parallel training has by name.
[[maybe_unused]] c10::intrusive_ptr<c10d::ProcessGroup> process_group;

}  // namespace

#define ADVICE(number)                                                                                            \
  [[maybe_unused]] static void advice_##number(                                                                   \
      [[maybe_unused]] Net net, [[maybe_unused]] torch::optim::SGD& optimizer, [[maybe_unused]] Loader& loader,   \
      [[maybe_unused]] Dataset dataset, [[maybe_unused]] torch::data::Example<> batch,                            \
      [[maybe_unused]] torch::Tensor x, [[maybe_unused]] torch::Tensor x_train, [[maybe_unused]] torch::Tensor y, \
      [[maybe_unused]] torch::Tensor input, [[maybe_unused]] torch::Tensor output,                                \
      [[maybe_unused]] torch::Tensor logits, [[maybe_unused]] torch::Tensor target,                               \
      [[maybe_unused]] torch::Tensor loss, [[maybe_unused]] gradhealth::Monitor& monitor,                         \
      [[maybe_unused]] std::int64_t step)

#include "collected_advice.inc"
