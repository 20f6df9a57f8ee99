#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <gradhealth/hooks.h>

/// The kinds of models that the hooks promise to see, each with a second path to the numbers they must record.
namespace gradhealth::test {

/// An activation as the run must name it, with the tensor that autograd::grad is asked about.
struct Reference {
  std::string name;
  torch::Tensor activation;
};

/// A forward pass that keeps every intermediate tensor.
struct ByHand {
  torch::Tensor loss;
  std::vector<Reference> activations;
};

/// One model on one batch.
struct Walk {
  std::shared_ptr<torch::nn::Module> module;  ///< Null where there is none; then `tensors` are watched.
  NamedTensors tensors;
  std::function<torch::Tensor()> forward;  ///< As a trainer writes it; returns the loss.
  std::function<ByHand()> by_hand;         ///< The same function of the same parameters.
  std::function<void()> after_attaching;   ///< What is done to the model once the monitor is there; may be empty.
  std::shared_ptr<void> setting;           ///< Undoes a global setting when it goes.
};

/// One row of README's table of coverage.
struct CoverageCase {
  std::string kind;
  std::string remarks;
  std::function<Walk()> make;
};

std::vector<CoverageCase> layer_cases();
std::vector<CoverageCase> recurrent_cases();
std::vector<CoverageCase> attention_cases();
std::vector<CoverageCase> composition_cases();
std::vector<CoverageCase> special_cases();

/// A scalar that depends on every element, whatever the precision.
torch::Tensor loss_of(const torch::Tensor& output);

/// A layer on an input of its own.
struct Part {
  std::string name;
  std::shared_ptr<torch::nn::Module> module;
  std::function<torch::Tensor()> output;
};

/// A model of layers that do not depend on one another.
Walk side_by_side(const std::vector<Part>& parts);

using Children = std::vector<std::pair<std::string, std::shared_ptr<torch::nn::Module>>>;

/// A module with these children.
std::shared_ptr<torch::nn::Module> root_of(const Children& children);

/// A model of these children whose forward pass is the one by hand.
Walk walk_of(const Children& children, const std::function<ByHand()>& by_hand);

}  // namespace gradhealth::test
