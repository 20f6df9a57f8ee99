#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"

/// The same training three times: bare, with step(loss) after the last backward(), and with automatic steps. Weights
/// must be the same to the bit in all three, and what is recorded in the last two, times apart.
namespace gradhealth::test {

enum class Way { kBare, kExplicit, kAutomatic };

/// What a trainer sees of its monitors.
class Monitors {
 public:
  Monitors(Way way, std::filesystem::path directory);

  void watch(torch::nn::Module& model, torch::optim::Optimizer& optimizer, const std::string& name = "run");
  void step(const torch::Tensor& loss, std::size_t model = 0);
  void close();
  Rows rows(std::size_t model = 0) const;
  const std::vector<std::vector<torch::Tensor>>& weights() const { return models_; }

 private:
  Way way_;
  std::filesystem::path directory_;
  std::vector<std::string> names_;
  std::vector<std::optional<Monitor>> monitors_;
  std::vector<std::vector<torch::Tensor>> models_;
};

using Trainer = std::function<void(Monitors&)>;

/// @returns the automatic run, of the first model.
Rows check_three_ways(const Trainer& train, std::size_t steps, std::size_t models = 1);

/// Doubts about automatic steps that were told, in order.
std::vector<std::string> doubts(const Rows& run);

torch::nn::Sequential small_net();
torch::Tensor small_loss(torch::nn::Sequential& net);
void set_to_none(torch::nn::Module& module);

/// Twelve steps of a small net; `after` runs behind each update.
template <typename Optimizer, typename Options>
Trainer plain(Options options, std::function<void(torch::nn::Sequential&)> after = {}) {
  return [=](Monitors& monitors) {
    torch::nn::Sequential net = small_net();
    Optimizer optimizer(net->parameters(), options);
    monitors.watch(*net, optimizer);
    for (int step = 0; step < 12; ++step) {
      optimizer.zero_grad();
      const torch::Tensor loss = small_loss(net);
      loss.backward();
      monitors.step(loss);
      optimizer.step();
      if (after) after(net);
    }
  };
}

}  // namespace gradhealth::test
