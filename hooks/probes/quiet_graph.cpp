#include "hooks/probes/quiet_graph.h"

#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/variable.h>

namespace gradhealth::hooks {
namespace {

using torch::autograd::Edge;
using torch::autograd::Node;

bool runs_foreign_code(const std::string& name) {
  return name.find("CppNode<") != std::string::npos || name.find("DifferentiableGraph") != std::string::npos;
}

}  // namespace

bool is_leaf(const Node& node) { return dynamic_cast<const torch::autograd::AccumulateGrad*>(&node) != nullptr; }

QuietGraph::QuietGraph(const at::Tensor& root) : root_(torch::autograd::impl::gradient_edge(root).function) {
  std::vector<Node*> open;
  const auto visit = [&](Node* node) {
    if (node && nodes_.insert(node).second) open.push_back(node);
  };
  visit(root_.get());
  while (!open.empty()) {
    Node* node = open.back();
    open.pop_back();
    if (is_leaf(*node)) {
      parameters_.push_back(node);
      continue;
    }
    const std::string name = node->name();
    if (foreign_node_.empty() && runs_foreign_code(name)) foreign_node_ = name;
    couples_samples_ |= name.find("BatchNorm") != std::string::npos;
    aside_.take(*node);
    for (const Edge& edge : node->next_edges()) visit(edge.function.get());
  }
}

void QuietGraph::quiet_parameters() {
  for (Node* node : parameters_) aside_.take(*node);
  parameters_.clear();
}

QuietGraph::HooksAside::~HooksAside() {
  for (auto& [node, hooks] : taken) swap_hooks(*node, hooks);
}

void QuietGraph::HooksAside::take(Node& node) {
  taken.emplace_back(&node, NodeHooks{});  // Before the swap: running out of memory loses no hook.
  swap_hooks(node, taken.back().second);
  if (taken.back().second.empty()) taken.pop_back();
}

}  // namespace gradhealth::hooks
