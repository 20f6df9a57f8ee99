#include "hooks/update_observer.h"

// RecordFunction::inputs() asserts on a flag that LibTorch's release builds never set, unless NDEBUG is defined.
#ifndef NDEBUG
#error "compile this file with -DNDEBUG; hooks/CMakeLists.txt does"
#endif

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/record_function.h>

namespace gradhealth::hooks {
namespace {

using Watches = std::vector<std::shared_ptr<UpdateWatch>>;

std::mutex registry_mutex;
Watches registry;  // Guarded by registry_mutex.
std::atomic<std::uint64_t> registry_version{1};
at::CallbackHandle callback_handle = 0;  // Guarded by registry_mutex.
bool callback_enabled = false;           // Guarded by registry_mutex.

/// Engine threads differentiate, the thread that called backward() waits: what follows there follows the whole pass.
struct ThreadState {
  int nodes = 0;                ///< Depth of nodes being differentiated.
  bool unsettled = false;       ///< A backward pass has run on this thread, and nothing else since.
  bool gradients_wait = false;  ///< It reached a watched model, and no update has followed.
  at::Tensor root;              ///< What the pass about to run, or unsettled, started from.
  std::uint64_t version = 0;    ///< Of the copy below.
  std::vector<std::weak_ptr<UpdateWatch>> watches;
};

ThreadState& thread_state() {
  thread_local ThreadState state;
  if (state.version != registry_version.load(std::memory_order_acquire)) {
    const std::lock_guard<std::mutex> lock(registry_mutex);
    state.watches.assign(registry.begin(), registry.end());
    state.version = registry_version.load(std::memory_order_relaxed);
  }
  return state;
}

struct NodeContext : at::ObserverContext {};

/// Calls `visit(watch)` for each. The list is copied: a step that ends within may register another capture or watch.
template <typename Visit>
void for_each_watch(ThreadState& thread, Visit&& visit) noexcept {
  std::shared_ptr<UpdateWatch> current;
  try {
    const at::DisableRecordFunctionGuard no_record;
    const std::vector<std::weak_ptr<UpdateWatch>> watches = thread.watches;
    for (const std::weak_ptr<UpdateWatch>& weak : watches)
      if ((current = weak.lock())) visit(current);
  } catch (...) {
    if (current) current->fail();
  }
}

bool is_node(const char* name) {
  constexpr std::string_view kPrefix = "autograd::engine::evaluate_function";
  return name[0] == 'a' && name[1] == 'u' && std::strncmp(name, kPrefix.data(), kPrefix.size()) == 0;
}

void settle(ThreadState& thread) noexcept {
  thread.unsettled = false;
  const at::Tensor root = std::exchange(thread.root, {});
  Watches reached;
  for_each_watch(thread, [&](const std::shared_ptr<UpdateWatch>& watch) {
    if (watch->after_backward(root)) reached.push_back(watch);
  });
  thread.gradients_wait |= !reached.empty();
  if (reached.size() == 1) reached.front()->backward_was_of_no_other();
}

/// backward() without a gradient begins by making one like its root.
void note_root(ThreadState& thread, const at::RecordFunction& function) {
  const auto inputs = function.inputs();
  if (inputs.empty() || !inputs[0].isTensor()) return;
  const at::Tensor& root = inputs[0].toTensor();
  if (!root.defined() || !root.requires_grad() || root.numel() != 1) return;
  thread.root = root.variable_data();
  if (root.device().is_cpu()) return;
  // Its nodes run on threads of the engine's.
  thread.unsettled = true;
  for_each_watch(thread, [](const std::shared_ptr<UpdateWatch>& watch) { watch->before_backward(); });
}

void show_write(ThreadState& thread, const char* op, const at::Tensor& target) {
  std::vector<UpdateWatch*> updated;
  bool waits = false;
  for_each_watch(thread, [&](const std::shared_ptr<UpdateWatch>& watch) {
    if (watch->before_write(op, target)) updated.push_back(watch.get());
    waits |= watch->update_expected();
  });
  thread.gradients_wait = waits;
  if (updated.empty() || !waits) return;
  for_each_watch(thread, [&](const std::shared_ptr<UpdateWatch>& watch) {
    if (std::find(updated.begin(), updated.end(), watch.get()) == updated.end()) watch->other_model_was_updated();
  });
}

void show_writes(ThreadState& thread, const at::RecordFunction& function) {
  const auto inputs = function.inputs();
  if (inputs.empty()) return;
  if (inputs[0].isTensor()) return show_write(thread, function.name(), inputs[0].toTensor());
  if (!inputs[0].isTensorList()) return;
  for (const at::Tensor& target : inputs[0].toTensorVector()) show_write(thread, function.name(), target);
}

std::unique_ptr<at::ObserverContext> start(const at::RecordFunction& function) {
  ThreadState& thread = thread_state();
  if (thread.watches.empty()) return nullptr;
  const char* name = function.name();
  if (is_node(name)) {
    if (thread.nodes++ == 0 && !std::exchange(thread.unsettled, true))
      for_each_watch(thread, [](const std::shared_ptr<UpdateWatch>& watch) { watch->before_backward(); });
    return std::make_unique<NodeContext>();
  }
  if (thread.nodes > 0) return nullptr;
  if (thread.unsettled) settle(thread);
  if (thread.gradients_wait)
    for_each_watch(thread, [](const std::shared_ptr<UpdateWatch>& watch) { watch->before_operator(); });
  const std::size_t length = std::strlen(name);
  if (length > 0 && name[length - 1] == '_')
    show_writes(thread, function);
  else if (std::strcmp(name, "aten::ones_like") == 0)
    note_root(thread, function);
  return nullptr;
}

void end(const at::RecordFunction&, at::ObserverContext* context) {
  if (context) --thread_state().nodes;
}

}  // namespace

void watch_updates(const std::shared_ptr<UpdateWatch>& watch) {
  const std::lock_guard<std::mutex> lock(registry_mutex);
  if (std::find(registry.begin(), registry.end(), watch) != registry.end()) return;
  if (callback_handle == 0) {
    callback_handle = at::addGlobalCallback(
        at::RecordFunctionCallback(&start, &end).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
    callback_enabled = true;
  } else if (!callback_enabled) {
    at::reenableCallback(callback_handle);
    callback_enabled = true;
  }
  registry.push_back(watch);
  registry_version.fetch_add(1, std::memory_order_release);
}

void stop_watching_updates(const std::shared_ptr<UpdateWatch>& watch) {
  {
    const std::lock_guard<std::mutex> lock(registry_mutex);
    const auto found = std::find(registry.begin(), registry.end(), watch);
    if (found != registry.end()) {
      registry.erase(found);
      registry_version.fetch_add(1, std::memory_order_release);
    }
    if (registry.empty() && callback_enabled) {
      at::disableCallback(callback_handle);
      callback_enabled = false;
    }
  }
  watch->stop();
}

void settle_backward() noexcept {
  ThreadState& thread = thread_state();
  if (thread.nodes == 0 && thread.unsettled) settle(thread);
}

}  // namespace gradhealth::hooks
