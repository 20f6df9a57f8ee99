#pragma once

#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/function.h>

#include "hooks/torch_compat.h"

namespace gradhealth::hooks {

/// The graph behind one tensor, with all hooks set aside as long as this lives: neither the monitor's own nor the
/// trainer's see what a probe sends through it, and no tensor that retains its gradient receives it. The hooks of
/// parameters stay, since other threads' graphs may share them; the engine calls them only where it captures a
/// parameter's gradient (see quiet_parameters).
class QuietGraph {
 public:
  /// @param root keeps the graph alive; a tensor without one makes an empty graph.
  explicit QuietGraph(const at::Tensor& root);

  /// Sets the hooks of the parameters aside too.
  void quiet_parameters();
  bool contains(const torch::autograd::Node* node) const { return nodes_.count(node) > 0; }
  /// A node that runs other code than LibTorch's own: a custom function or a TorchScript graph. Empty if there is none.
  const std::string& foreign_node() const { return foreign_node_; }
  /// Whether batch normalisation makes one sample's output depend on the others; in evaluation mode it does not, but
  /// that cannot be told.
  bool couples_samples() const { return couples_samples_; }

 private:
  /// Gives all hooks back when it goes, also where the constructor does not get to its end.
  struct HooksAside {
    std::vector<std::pair<torch::autograd::Node*, NodeHooks>> taken;

    HooksAside() = default;
    HooksAside(const HooksAside&) = delete;
    HooksAside& operator=(const HooksAside&) = delete;
    ~HooksAside();
    void take(torch::autograd::Node& node);
  };

  NodePtr root_;
  std::unordered_set<const torch::autograd::Node*> nodes_;
  std::vector<torch::autograd::Node*> parameters_;
  std::string foreign_node_;
  bool couples_samples_ = false;
  HooksAside aside_;
};

/// Whether the node receives the gradient of a leaf, such as a parameter.
bool is_leaf(const torch::autograd::Node& node);

}  // namespace gradhealth::hooks
