#pragma once

#include <cstddef>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/version.h>

/// What differs between the versions of LibTorch.
namespace gradhealth::hooks {

/// A node of a graph, held: by std::shared_ptr, in later LibTorch 2.x by c10::intrusive_ptr.
using NodePtr = decltype(torch::autograd::Edge::function);

template <typename T>
std::weak_ptr<T> weak(const std::shared_ptr<T>& pointer) {
  return pointer;
}
template <typename T>
c10::weak_intrusive_ptr<T> weak(const c10::intrusive_ptr<T>& pointer) {
  return c10::weak_intrusive_ptr<T>(pointer);
}

/// A node that is not kept alive.
class WeakNode {
 public:
  WeakNode() : WeakNode(NodePtr()) {}
  WeakNode(const NodePtr& node) : node_(weak(node)) {}

  bool expired() const { return node_.expired(); }
  /// Empty when it is gone.
  NodePtr lock() const { return node_.lock(); }

 private:
  decltype(weak(NodePtr())) node_;
};

/// Everything that the engine calls beside a node itself. LibTorch 1.13 keeps hooks of tensors, and what retain_grad()
/// does, among the node's; 2.x each on its own.
struct NodeHooks {
  std::vector<std::unique_ptr<torch::autograd::FunctionPreHook>> before;
  std::vector<std::unique_ptr<torch::autograd::FunctionPostHook>> after;
#if TORCH_VERSION_MAJOR >= 2
  std::vector<std::unique_ptr<torch::autograd::FunctionPreHook>> of_tensors;
  std::unordered_map<std::size_t, std::unique_ptr<torch::autograd::FunctionPreHook>> retaining;
#endif

  bool empty() const {
#if TORCH_VERSION_MAJOR >= 2
    if (!of_tensors.empty() || !retaining.empty()) return false;
#endif
    return before.empty() && after.empty();
  }
};

inline void swap_hooks(torch::autograd::Node& node, NodeHooks& hooks) noexcept {
  node.pre_hooks().swap(hooks.before);
  node.post_hooks().swap(hooks.after);
#if TORCH_VERSION_MAJOR >= 2
  node.tensor_pre_hooks().swap(hooks.of_tensors);
  node.retains_grad_hooks().swap(hooks.retaining);
#endif
}

}  // namespace gradhealth::hooks
