#pragma once

#include <memory>

#include <torch/torch.h>

#include "zoo/data.h"
#include "zoo/settings.h"

namespace gradhealth::zoo {

/// A model of the zoo: what the settings make of it.
struct Net : torch::nn::Module {
  virtual torch::Tensor forward(torch::Tensor x) = 0;
};

/// Initialised from the current state of the random generator.
std::shared_ptr<Net> make_model(const Settings& settings, const Data& data);

/// "relu", "tanh", "sigmoid", "leaky_relu", "gelu", "exp", "sqrt", "softmax", "log_softmax"; empty: x itself.
torch::Tensor activate(const std::string& name, const torch::Tensor& x);

}  // namespace gradhealth::zoo
