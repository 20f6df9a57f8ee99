#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <torch/torch.h>

namespace gradhealth::test {

struct TwoLayersImpl : torch::nn::Module {
  torch::nn::Linear fc1{4, 6};
  torch::nn::Linear fc2{6, 3};

  TwoLayersImpl() {
    register_module("fc1", fc1);
    register_module("fc2", fc2);
  }
  torch::Tensor forward(const torch::Tensor& x) { return fc2(torch::tanh(fc1(x))); }
};
TORCH_MODULE(TwoLayers);

/// An event's text, taken apart.
struct Fields {
  std::int64_t step = 0;
  std::string subject;
  std::string text;
  std::map<std::string, std::string> values;  ///< Of repeated keys, the first.

  /// Empty if there is none.
  std::string operator[](const std::string& key) const;
};

/// "8x6:float32:0:1.5:3:1:48", taken apart; no range is NaN. Fails the test if it is something else.
struct Extent {
  std::string shape;
  std::string dtype;
  double min = 0;
  double max = 0;
  std::int64_t nonfinite = 0;
  std::int64_t nan = 0;
  std::int64_t count = 0;

  explicit Extent(const std::string& text);
};

/// What a run file tells of origins.
struct Told {
  std::vector<Fields> origins;
  std::vector<Fields> before;
  std::vector<Fields> replays;  ///< Closures that threw.

  explicit Told(const std::filesystem::path& path);
};

}  // namespace gradhealth::test
