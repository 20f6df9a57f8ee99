#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <gradhealth/hooks.h>
#include <gradhealth/run_file.h>

#include "support/temporary_directory.h"

/// Models and run files for the tests of the hooks.
namespace gradhealth::test {

/// Convolutions with batch normalisation, in-place and functional activations, a residual branch and dropout.
struct ConvNetImpl : torch::nn::Module {
  torch::nn::Conv2d conv1{torch::nn::Conv2dOptions(1, 6, 3).padding(1)};
  torch::nn::BatchNorm2d norm{6};
  torch::nn::Conv2d conv2{torch::nn::Conv2dOptions(6, 6, 3).padding(1)};
  torch::nn::Linear fc1{6 * 4 * 4, 16};
  torch::nn::LayerNorm layer_norm{torch::nn::LayerNormOptions({16})};
  torch::nn::Linear fc2{16, 3};
  double dropout = 0;

  ConvNetImpl() {
    register_module("conv1", conv1);
    register_module("norm", norm);
    register_module("conv2", conv2);
    register_module("fc1", fc1);
    register_module("layer_norm", layer_norm);
    register_module("fc2", fc2);
  }

  torch::Tensor forward(torch::Tensor x) {
    x = torch::relu(norm(conv1(x)));
    torch::Tensor y = conv2(x);
    y += x;
    y.relu_();
    y = torch::max_pool2d(y, 2).flatten(1);
    y = torch::dropout(y, dropout, is_training());
    return fc2(torch::tanh(layer_norm(fc1(y))));
  }
};
TORCH_MODULE(ConvNet);

/// Parameters of its own and plain matrix products instead of submodules.
struct CustomNetImpl : torch::nn::Module {
  torch::Tensor w1 = register_parameter("w1", torch::randn({5, 8}) * 0.4);
  torch::Tensor b1 = register_parameter("b1", torch::zeros({8}));
  torch::Tensor w2 = register_parameter("w2", torch::randn({8, 2}) * 0.4);

  torch::Tensor forward(const torch::Tensor& x) { return torch::matmul(torch::gelu(torch::matmul(x, w1) + b1), w2); }
};
TORCH_MODULE(CustomNet);

/// All rows of a run file.
struct Rows {
  Run run;
  std::vector<StepRecord> rows;

  explicit Rows(const std::filesystem::path& path);
  /// The value of a subject by name in a row. Fails the test if the run has no such subject.
  double at(std::size_t row, Quantity quantity, const std::string& subject) const;
  std::vector<std::string> names(Axis axis) const;
};

torch::optim::SGD sgd(const torch::nn::Module& module, double rate = 0.05);

/// Records every step, silently.
MonitorOptions every_step();

}  // namespace gradhealth::test
