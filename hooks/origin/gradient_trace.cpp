#include "hooks/origin/gradient_trace.h"

#include <algorithm>
#include <chrono>
#include <unordered_set>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/variable.h>

#include "hooks/muted.h"

namespace gradhealth::hooks {
namespace {

using torch::autograd::AccumulateGrad;
using torch::autograd::Node;

/// One operator, an LSTM over many time steps, may consist of thousands of nodes.
constexpr std::size_t kMostNodes = 20'000;
constexpr std::size_t kMostOrigins = 1'000;

class NodeHook : public torch::autograd::FunctionPostHook {
 public:
  NodeHook(std::weak_ptr<GradientTrace> trace, Node* node, std::shared_ptr<const OperatorRecord> record)
      : trace_(std::move(trace)), node_(node), record_(std::move(record)) {}

  torch::autograd::variable_list operator()(const torch::autograd::variable_list& grad_inputs,
                                            const torch::autograd::variable_list& grad_outputs) override {
    if (const std::shared_ptr<GradientTrace> trace = trace_.lock()) {
      try {
        const auto start = std::chrono::steady_clock::now();
        trace->ran(*node_, record_, grad_inputs, grad_outputs);
        trace->add_time((std::chrono::steady_clock::now() - start).count());
      } catch (const std::exception& error) {  // One that leaves would come out of the trainer's backward().
        trace->fail(error.what());
      } catch (...) {
        trace->fail("an unknown exception while reading a gradient");
      }
    }
    return grad_inputs;
  }

  bool belongs_to(const GradientTrace& trace) const { return trace_.lock().get() == &trace; }
  const std::shared_ptr<const OperatorRecord>& record() const { return record_; }

 private:
  std::weak_ptr<GradientTrace> trace_;
  Node* node_;  ///< Owns this hook.
  std::shared_ptr<const OperatorRecord> record_;
};

const NodeHook* hook_of(const Node& node, const GradientTrace& trace) {
  for (const auto& hook : node.post_hooks())
    if (const auto* ours = dynamic_cast<const NodeHook*>(hook.get()); ours && ours->belongs_to(trace)) return ours;
  return nullptr;
}

std::vector<TensorExtremes> extremes_of(const std::vector<at::Tensor>& tensors) {
  std::vector<TensorExtremes> extremes;
  for (const at::Tensor& tensor : tensors)
    if (has_extremes(tensor)) extremes.push_back(tensor_extremes(tensor));
  // The bad ones first: only a few are kept.
  std::stable_partition(extremes.begin(), extremes.end(), [](const TensorExtremes& e) { return e.bad(); });
  if (extremes.size() > kMostTensors) extremes.resize(kMostTensors);
  return extremes;
}

}  // namespace

std::vector<std::shared_ptr<const OperatorRecord>> GradientTrace::watch(
    const at::Tensor& output, std::uint64_t first_node, const std::shared_ptr<const OperatorRecord>& record) {
  std::vector<std::shared_ptr<const OperatorRecord>> behind;
  std::vector<Node*> open;
  const NodePtr last = output.grad_fn();
  if (last) open.push_back(last.get());
  std::unordered_set<const Node*> seen;
  while (!open.empty() && seen.size() < kMostNodes) {
    Node* node = open.back();
    open.pop_back();
    if (!seen.insert(node).second || dynamic_cast<AccumulateGrad*>(node)) continue;
    if (const NodeHook* hook = hook_of(*node, *this)) {
      behind.push_back(hook->record());
      continue;
    }
    if (node->sequence_nr() < first_node) continue;
    node->add_post_hook(std::make_unique<NodeHook>(weak_from_this(), node, record));
    for (const torch::autograd::Edge& edge : node->next_edges())
      if (edge.function) open.push_back(edge.function.get());
  }
  return behind;
}

void GradientTrace::ran(Node& node, const std::shared_ptr<const OperatorRecord>& forward,
                        const std::vector<at::Tensor>& grad_inputs, const std::vector<at::Tensor>& grad_outputs) {
  const at::NoGradGuard no_grad;
  const Muted muted;
  auto record = std::make_shared<OperatorRecord>();
  record->op = forward->op;
  record->place = forward->place;
  record->module = forward->module;
  std::vector<std::size_t> bad;
  for (std::size_t i = 0; i < grad_inputs.size(); ++i) {
    if (!has_extremes(grad_inputs[i])) continue;
    TensorExtremes extremes = tensor_extremes(grad_inputs[i]);
    if (extremes.bad()) bad.push_back(i);
    if (record->outputs.size() < kMostTensors || extremes.bad()) record->outputs.push_back(std::move(extremes));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  int origin = -1;
  if (const auto found = expected_.find(&node); found != expected_.end()) {
    if (!found->second.node.expired()) origin = found->second.origin;
    expected_.erase(found);
  }
  if (!bad.empty()) {
    if (origin < 0) {
      record->inputs = extremes_of(grad_outputs);
      record->outputs = extremes_of(grad_inputs);
      origin = add_origin(node, record, forward);
    }
    for (const std::size_t i : bad)
      if (i < node.num_outputs() && node.next_edge(i).function) deliver(node.next_edge(i).function, origin);
  }
  ring_.push_back(std::move(record));
  if (ring_.size() > kFlightRing) ring_.pop_front();
}

int GradientTrace::add_origin(Node& node, const std::shared_ptr<OperatorRecord>& record,
                              const std::shared_ptr<const OperatorRecord>& forward) {
  if (origins_.size() < kMostOrigins) {
    Origin origin;
    origin.source = Origin::Source::kOperator;
    origin.at = record;
    origin.forward = forward;
    origin.node = node.name();
    origin.before.assign(ring_.begin(), ring_.end());
    origins_.push_back(std::move(origin));
  }
  return static_cast<int>(origins_.size()) - 1;
}

void GradientTrace::deliver(const NodePtr& node, int origin) {
  std::vector<NodePtr> open{node};
  std::unordered_set<const Node*> seen;
  while (!open.empty() && seen.size() < kMostNodes) {
    const NodePtr next = std::move(open.back());
    open.pop_back();
    if (!seen.insert(next.get()).second) continue;
    if (const auto* leaf = dynamic_cast<const AccumulateGrad*>(next.get())) {
      if (parameters_->find(leaf->variable) >= 0) reached_.insert(origin);
    } else if (hook_of(*next, *this)) {
      Expected& expected = expected_[next.get()];
      const bool waiting = expected.origin >= 0 && !expected.node.expired();
      expected = {next, waiting ? std::min(expected.origin, origin) : origin};
    } else {  // A view: it makes no values of its own.
      for (const torch::autograd::Edge& edge : next->next_edges())
        if (edge.function) open.push_back(edge.function);
    }
  }
}

std::optional<Origin> GradientTrace::origin() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (reached_.empty()) return std::nullopt;
  return origins_[static_cast<std::size_t>(*reached_.begin())];
}

void GradientTrace::fail(const std::string& error) noexcept {
  try {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (error_.empty()) error_ = error;
  } catch (...) {  // Out of memory for the message: there is nobody left to tell.
  }
}

std::string GradientTrace::error() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return error_;
}

}  // namespace gradhealth::hooks
