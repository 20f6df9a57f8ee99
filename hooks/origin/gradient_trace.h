#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <ATen/core/Tensor.h>

#include "hooks/capture/watched_parameters.h"
#include "hooks/origin/origin.h"
#include "hooks/torch_compat.h"

namespace torch::autograd {
struct Node;
}

namespace gradhealth::hooks {

/// Follows non-finite gradients through the backward passes of one step: from the node that makes them, along the edges
/// of the graph, to the parameters that receive them. Nodes may run on any thread; no tensor is kept.
class GradientTrace : public std::enable_shared_from_this<GradientTrace> {
 public:
  explicit GradientTrace(std::shared_ptr<const StorageTable> parameters) : parameters_(std::move(parameters)) {}

  /// Watches the nodes of one operator: those behind `output` with a sequence number from `first_node` on.
  /// @return the records of the operators that the walk ended at.
  std::vector<std::shared_ptr<const OperatorRecord>> watch(const at::Tensor& output, std::uint64_t first_node,
                                                           const std::shared_ptr<const OperatorRecord>& record);
  /// Called when `node` has run.
  void ran(torch::autograd::Node& node, const std::shared_ptr<const OperatorRecord>& forward,
           const std::vector<at::Tensor>& grad_inputs, const std::vector<at::Tensor>& grad_outputs);
  void fail(const std::string& error) noexcept;
  void add_time(std::int64_t nanoseconds) { own_nanoseconds_.fetch_add(nanoseconds, std::memory_order_relaxed); }

  /// Where the gradients that reached a parameter began; nothing if all that reached one were finite.
  std::optional<Origin> origin() const;
  std::string error() const;
  double own_seconds() const { return 1e-9 * static_cast<double>(own_nanoseconds_.load(std::memory_order_relaxed)); }

 private:
  int add_origin(torch::autograd::Node& node, const std::shared_ptr<OperatorRecord>& record,
                 const std::shared_ptr<const OperatorRecord>& forward);
  void deliver(const NodePtr& node, int origin);

  /// A node that a bad gradient is on its way to. Weak, because addresses of freed nodes are used again.
  struct Expected {
    WeakNode node;
    int origin = -1;
  };

  std::shared_ptr<const StorageTable> parameters_;
  mutable std::mutex mutex_;
  std::unordered_map<const torch::autograd::Node*, Expected> expected_;
  std::vector<Origin> origins_;
  std::set<int> reached_;  ///< Origins whose values arrived at a parameter.
  std::deque<std::shared_ptr<const OperatorRecord>> ring_;
  std::string error_;
  std::atomic<std::int64_t> own_nanoseconds_{0};
};

}  // namespace gradhealth::hooks
