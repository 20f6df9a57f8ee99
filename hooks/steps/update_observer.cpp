#include "hooks/steps/update_observer.h"

// RecordFunction::inputs() asserts on a flag that LibTorch's release builds never set, unless NDEBUG is defined.
#ifndef NDEBUG
#error "compile this file with -DNDEBUG; hooks/CMakeLists.txt does"
#endif

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include "hooks/hide_inside.h"
#include "hooks/muted.h"

namespace gradhealth::hooks {
namespace {

using Watches = std::vector<std::shared_ptr<UpdateWatch>>;

std::mutex registry_mutex;
Watches registry;  // Guarded by registry_mutex.
std::atomic<std::uint64_t> registry_version{1};
at::CallbackHandle callback_handle = 0;  // Guarded by registry_mutex.
bool callback_enabled = false;           // Guarded by registry_mutex.

struct ThreadState {
  int nodes = 0;                                    ///< Depth of nodes being differentiated.
  bool unsettled = false;                           ///< A backward pass has run on this thread, and nothing else since.
  bool on_device = false;                           ///< Its nodes ran on threads of the engine's.
  at::Tensor root;                                  ///< What the pass about to run, or unsettled, started from.
  std::vector<std::weak_ptr<UpdateWatch>> reached;  ///< By the unsettled pass.
  /// For the update that follows a pass of this thread, with the pass's number.
  std::vector<std::pair<std::weak_ptr<UpdateWatch>, std::uint64_t>> waiting;
  std::uint64_t version = 0;  ///< Of the copy below.
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

struct NodeContext : at::ObserverContext {
  std::optional<HideInside> hidden;
};

/// Whether what runs inside is of no interest: it is not differentiated a second time, and is no function of the
/// trainer's, which may run a forward pass as checkpointing does.
bool is_plain(const char* node) {
  return !at::GradMode::is_enabled() && std::strstr(node, "CppNode<") == nullptr &&
         std::strstr(node, "CopySlices") == nullptr;
}

/// Calls `visit(watch)` for each. The list is the caller's own: a step that ends within may change the thread's.
template <typename Visit>
void for_each(const std::vector<std::weak_ptr<UpdateWatch>>& watches, Visit&& visit) noexcept {
  std::shared_ptr<UpdateWatch> current;
  try {
    const Muted muted;
    for (const std::weak_ptr<UpdateWatch>& weak : watches)
      if ((current = weak.lock())) visit(current);
  } catch (...) {
    if (current) current->fail();
  }
}

constexpr std::string_view kNodePrefix = "autograd::engine::evaluate_function: ";

bool is_node(const char* name) {
  return name[0] == 'a' && name[1] == 'u' && std::strncmp(name, kNodePrefix.data(), kNodePrefix.size()) == 0;
}

void settle(ThreadState& thread) noexcept {
  thread.unsettled = false;
  const at::Tensor root = std::exchange(thread.root, {});
  std::vector<std::weak_ptr<UpdateWatch>> reached = std::exchange(thread.reached, {});
  const bool on_device = std::exchange(thread.on_device, false);
  if (on_device) {
    reached.clear();
    for_each(thread.watches, [&](const std::shared_ptr<UpdateWatch>& watch) {
      if (watch->take_accumulation()) reached.push_back(watch);
    });
  }
  for_each(reached, [&](const std::shared_ptr<UpdateWatch>& watch) {
    if (!on_device && !watch->take_accumulation()) return;  // Another thread has seen to it.
    if (reached.size() == 1) watch->backward_was_of_no_other();
    thread.waiting.emplace_back(watch, watch->after_backward(root));
  });
}

/// backward() without a gradient begins by making one like its root.
void note_root(ThreadState& thread, const at::RecordFunction& function) {
  const auto inputs = function.inputs();
  if (inputs.empty() || !inputs[0].isTensor()) return;
  const at::Tensor& root = inputs[0].toTensor();
  if (!root.defined() || !root.requires_grad() || root.numel() != 1) return;
  thread.root = root.variable_data();
  if (root.device().is_cpu()) return;
  thread.on_device = thread.unsettled = true;
  for_each(thread.watches, [](const std::shared_ptr<UpdateWatch>& watch) { watch->take_accumulation(); });
}

void show_write(ThreadState& thread, const char* op, const at::Tensor& target) {
  std::vector<UpdateWatch*> updated;
  bool waits = false;
  const std::vector<std::weak_ptr<UpdateWatch>> watches = thread.watches;
  for_each(watches, [&](const std::shared_ptr<UpdateWatch>& watch) {
    if (watch->before_write(op, target)) updated.push_back(watch.get());
    waits |= watch->update_expected();
  });
  if (updated.empty() || !waits) return;
  for_each(watches, [&](const std::shared_ptr<UpdateWatch>& watch) {
    if (std::find(updated.begin(), updated.end(), watch.get()) == updated.end()) watch->other_model_was_updated();
  });
}

/// Before any operator outside of backward, while gradients wait.
void look_at_waiting(ThreadState& thread) {
  const Muted muted;
  const auto is_over = [](const auto& entry) {
    const std::shared_ptr<UpdateWatch> watch = entry.first.lock();
    try {
      return !watch || !watch->before_operator(entry.second);
    } catch (...) {
      watch->fail();
      return true;
    }
  };
  thread.waiting.erase(std::remove_if(thread.waiting.begin(), thread.waiting.end(), is_over), thread.waiting.end());
}

void show_writes(ThreadState& thread, const at::RecordFunction& function) {
  const auto inputs = function.inputs();
  if (inputs.empty()) return;
  if (inputs[0].isTensor()) return show_write(thread, function.name(), inputs[0].toTensor());
  if (!inputs[0].isTensorList()) return;
  for (const at::Tensor& target : inputs[0].toTensorVector()) show_write(thread, function.name(), target);
}

std::unique_ptr<at::ObserverContext> start(const at::RecordFunction& function) {
  if (Muted::now()) return nullptr;
  ThreadState& thread = thread_state();
  if (thread.watches.empty()) return nullptr;
  const char* name = function.name();
  if (is_node(name)) {
    ++thread.nodes;
    if (!std::exchange(thread.unsettled, true)) thread.reached.clear();  // Passes while nobody looked.
    auto context = std::make_unique<NodeContext>();
    if (is_plain(name)) context->hidden.emplace();
    return context;
  }
  if (thread.nodes > 0) return nullptr;
  if (thread.unsettled) settle(thread);
  if (!thread.waiting.empty()) look_at_waiting(thread);
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

void note_accumulation(const std::shared_ptr<UpdateWatch>& watch) noexcept {
  try {
    watch->note_accumulation();
    std::vector<std::weak_ptr<UpdateWatch>>& reached = thread_state().reached;
    const bool known = std::any_of(reached.begin(), reached.end(), [&](const std::weak_ptr<UpdateWatch>& other) {
      return !other.owner_before(watch) && !watch.owner_before(other);
    });
    if (!known) reached.push_back(watch);
  } catch (...) {
    watch->fail();
  }
}

void settle_backward() noexcept {
  ThreadState& thread = thread_state();
  if (thread.nodes == 0 && thread.unsettled) settle(thread);
}

}  // namespace gradhealth::hooks
