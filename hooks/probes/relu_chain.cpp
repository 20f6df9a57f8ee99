#include "hooks/probes/relu_chain.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>

#include "hooks/probes/quiet_graph.h"

namespace gradhealth::hooks {
namespace {

using torch::autograd::Edge;
using torch::autograd::Node;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Nodes that pass on a gradient in another shape only.
constexpr std::array<std::string_view, 5> kReshapes{"ReshapeAliasBackward0", "SqueezeBackward1", "UnsafeViewBackward0",
                                                    "UnsqueezeBackward0", "ViewBackward0"};

bool is_product(std::string_view name) { return name == "AddmmBackward0" || name == "MmBackward0"; }

/// Whether all paths from here are views of one leaf: a weight, transposed or not.
bool leads_to_leaf(const Node* node) {
  for (int hops = 0; hops < 4; ++hops) {
    if (is_leaf(*node)) return true;
    if (node->num_outputs() != 1 || !node->next_edge(0).function) return false;
    const std::string name = node->name();
    if (name != "TBackward0" && name != "TransposeBackward0") return false;
    node = node->next_edge(0).function.get();
  }
  return false;
}

/// The nodes from here to the input, if there is one path only; empty otherwise.
std::vector<const Node*> path_to_input(const Node* node) {
  std::vector<const Node*> path;
  while (node) {
    path.push_back(node);
    const Node* next = nullptr;
    for (const Edge& edge : node->next_edges()) {
      const Node* to = edge.function.get();
      if (!to || leads_to_leaf(to)) continue;
      if (next) return {};
      next = to;
    }
    node = next;
  }
  return path;
}

/// Whether the operators on the path are exactly those of the recorded layers and ReLUs, and reshapes.
bool only_layers(const std::vector<const Node*>& path, const std::vector<ProbeTap>& taps, std::size_t layers) {
  std::size_t products = 0;
  std::size_t sums = 0;
  std::size_t rectifiers = 0;
  for (const Node* node : path) {
    const std::string name = node->name();
    if (is_product(name))
      ++products;
    else if (name == "AddBackward0")
      ++sums;
    else if (name == "ReluBackward0")
      ++rectifiers;
    else if (std::find(kReshapes.begin(), kReshapes.end(), name) == kReshapes.end())
      return false;
  }
  const auto biases = std::count_if(taps.begin(), taps.end(), [](const ProbeTap& tap) {
    return tap.parameter >= 0 && tap.node->name() == "AddBackward0";
  });
  return products == layers && rectifiers + 1 == layers && sums == static_cast<std::size_t>(biases);
}

/// Layer, ReLU, layer, …, layer: indices of the layers; empty if anything else has been recorded up to the root.
std::vector<std::size_t> alternating_layers(const std::vector<ProbeTap>& taps, std::size_t root) {
  std::vector<std::size_t> layers;
  for (std::size_t i = 0; i <= root; ++i) {
    const bool layer = taps[i].parameter >= 0;
    const bool fits = i % 2 == 0 ? layer : taps[i].op == "relu" && taps[i].parent == taps[i - 1].call;
    if (!fits || taps[i].sizes.size() < 2) return {};
    if (layer) layers.push_back(i);
  }
  return layers;
}

}  // namespace

double ChainExpectation::z_score(double log_ratio) const {
  return (log_ratio - log_gain + 2.5 * beta) / std::sqrt(5 * beta);
}

std::vector<ChainExpectation> relu_chain_expectations(const std::vector<ProbeTap>& taps, std::size_t root,
                                                      const std::function<double(int)>& squared_weight_norm) {
  std::vector<ChainExpectation> expected(taps.size(), {kNaN, kNaN});
  if (alternating_layers(taps, root).empty()) return expected;
  const std::vector<ProbeTap> chain(taps.begin(), taps.begin() + static_cast<std::ptrdiff_t>(root) + 1);
  const std::vector<const Node*> path = path_to_input(taps[root].node.get());
  if (!only_layers(path, chain, root / 2 + 1)) return expected;
  for (const ProbeTap& tap : chain)
    if (std::find(path.begin(), path.end(), tap.node.get()) == path.end()) return expected;

  ChainExpectation behind{0, 0};
  for (std::size_t i = root; i > 0; --i) {
    const double width = static_cast<double>(chain[i].sizes.back());
    if (i % 2 == 0) {  // Through the layer, to the ReLU before it.
      behind.log_gain += std::log(squared_weight_norm(chain[i].parameter) / width);
      behind.beta += 1 / static_cast<double>(chain[i - 1].sizes.back());
    } else {  // Through the ReLU: half of the units pass.
      behind.log_gain -= std::log(2.0);
    }
    expected[i - 1] = behind;
  }
  return expected;
}

}  // namespace gradhealth::hooks
