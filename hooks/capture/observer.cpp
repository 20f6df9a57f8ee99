#include "hooks/capture/observer.h"

// RecordFunction::inputs() asserts on a flag that LibTorch's release builds never set, unless NDEBUG is defined.
#ifndef NDEBUG
#error "compile this file with -DNDEBUG; hooks/CMakeLists.txt does"
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string_view>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include "hooks/hide_inside.h"
#include "hooks/muted.h"
#include "hooks/origin/operator_trace.h"

namespace gradhealth::hooks {
namespace {

using Captures = std::vector<std::shared_ptr<StepCapture>>;

std::mutex registry_mutex;
Captures registry;  // Guarded by registry_mutex.
std::atomic<std::uint64_t> registry_version{1};
at::CallbackHandle callback_handle = 0;  // Guarded by registry_mutex.
bool callback_enabled = false;           // Guarded by registry_mutex.

// What LibTorch and this callback need for an operator that turns out not to concern the model (measured, 290 to 430 ns
// with LibTorch 1.13 and 2.6): reading the clock for each of them would cost as much again.
constexpr std::int64_t kNanosecondsPerOperator = 400;

struct ThreadState {
  bool evaluating = false;     ///< A pass without gradients may be going on.
  int claimed = 0;             ///< Depth of operators inside one that was claimed.
  std::vector<bool> backward;  ///< Nodes being differentiated; true for custom functions, which may run a forward.
  std::uint64_t version = 0;   ///< Of the copy below.
  std::vector<std::weak_ptr<StepCapture>> captures;
};

ThreadState& thread_state() {
  thread_local ThreadState state;
  if (state.version != registry_version.load(std::memory_order_acquire)) {
    const std::lock_guard<std::mutex> lock(registry_mutex);
    state.captures.assign(registry.begin(), registry.end());
    state.version = registry_version.load(std::memory_order_relaxed);
  }
  return state;
}

/// Made only for operators that were claimed: most are not.
struct OperatorContext : at::ObserverContext {
  std::vector<std::pair<std::shared_ptr<StepCapture>, Claim>> claims;
  std::vector<std::shared_ptr<StepCapture>> evaluations;
  HideInside hidden;
};

/// "aten::relu_" → "relu". A view of `name`.
std::string_view operator_name(std::string_view name) {
  if (const auto colon = name.rfind("::"); colon != std::string_view::npos) name.remove_prefix(colon + 2);
  if (name.size() > 1 && name.back() == '_') name.remove_suffix(1);
  return name;
}

/// An operator's own arguments or results. Called by a script's interpreter, it shows that one's whole stack, of which
/// they are the last. @param count how many the operator has.
c10::ArrayRef<c10::IValue> own(c10::ArrayRef<c10::IValue> values, std::size_t count) {
  return count > 0 && values.size() > count ? values.slice(values.size() - count) : values;
}

/// The tensors among an operator's arguments or results, also those in lists. Points into `values`.
TensorPointers tensors_in(c10::ArrayRef<c10::IValue> values, std::size_t count) {
  TensorPointers tensors;
  for (const c10::IValue& value : own(values, count)) {
    if (value.isTensor()) {
      tensors.push_back(&value.toTensor());
    } else if (value.isList()) {
      for (const c10::IValue& element : value.toListRef()) {
        if (element.isTensor())
          tensors.push_back(&element.toTensor());
        else if (!element.isNone())  // A list of numbers. In lists of optional tensors, missing ones are None.
          break;
      }
    }
  }
  return tensors;
}

/// Our own tensor operators are neither differentiated nor observed.
struct Quiet {
  at::NoGradGuard no_grad;
  Muted muted;
};

template <typename Body>
void without_throwing(StepCapture& capture, Body&& body) {
  try {
    body();
  } catch (const std::exception& error) {
    capture.fail(error.what());
  } catch (...) {
    capture.fail("an unknown exception while observing an operator");
  }
}

/// Whether operators that run now belong to a forward pass that may be differentiated.
bool in_forward(const ThreadState& thread) {
  if (thread.claimed > 0 || thread.captures.empty() || !at::GradMode::is_enabled()) return false;
  // With create_graph, the engine differentiates with gradients enabled; a checkpoint's forward is a custom function's.
  return thread.backward.empty() || thread.backward.back();
}

/// Whether operators that run now may belong to a pass that nobody differentiates.
bool in_evaluation(const ThreadState& thread) {
  return thread.claimed == 0 && thread.backward.empty() && !at::GradMode::is_enabled() && !replaying();
}

std::unique_ptr<at::ObserverContext> start_evaluation(ThreadState& thread, const at::RecordFunction& function) {
  const std::string_view op = operator_name(function.name());
  if (!thread.evaluating && !may_begin_evaluation(op)) return nullptr;
  std::unique_ptr<OperatorContext> context;
  for (const std::weak_ptr<StepCapture>& weak : thread.captures) {
    const std::shared_ptr<StepCapture> capture = weak.lock();
    if (!capture || !capture->evaluation().looking()) continue;
    const auto begun = std::chrono::steady_clock::now();
    without_throwing(*capture, [&] {
      const Quiet quiet;
      const auto inputs = function.inputs();
      const c10::ArrayRef<c10::IValue> arguments =
          own(c10::ArrayRef<c10::IValue>(inputs.data(), inputs.size()), function.num_inputs());
      if (!capture->evaluation().begin(op, arguments, tensors_in(arguments, arguments.size()))) return;
      if (!context) context = std::make_unique<OperatorContext>();
      context->evaluations.push_back(capture);
    });
    capture->add_time((std::chrono::steady_clock::now() - begun).count());
  }
  thread.evaluating |= context != nullptr;
  if (context) ++thread.claimed;
  return context;
}

std::unique_ptr<at::ObserverContext> start(const at::RecordFunction& function) {
  if (Muted::now()) return nullptr;
  ThreadState& thread = thread_state();
  if (function.scope() == at::RecordScope::BACKWARD_FUNCTION) {
    thread.backward.push_back(std::string_view(function.name()).find("CppNode<") != std::string_view::npos);
    return nullptr;
  }
  if (in_evaluation(thread)) return start_evaluation(thread, function);
  if (!in_forward(thread)) return nullptr;
  thread.evaluating = false;
  if (replaying()) return nullptr;  // The same step a second time.
  const auto inputs = function.inputs();
  const TensorPointers tensors =
      tensors_in(c10::ArrayRef<c10::IValue>(inputs.data(), inputs.size()), function.num_inputs());
  if (tensors.empty()) return nullptr;
  const std::string_view op = operator_name(function.name());
  std::unique_ptr<OperatorContext> context;
  for (const std::weak_ptr<StepCapture>& weak : thread.captures) {
    const std::shared_ptr<StepCapture> capture = weak.lock();
    if (!capture) continue;
    capture->add_time(kNanosecondsPerOperator);
    without_throwing(*capture, [&] {
      if (capture->evaluation().seen()) capture->evaluation().interrupt(tensors);
      std::optional<Claim> claim = capture->begin(op, tensors);
      if (!claim) return;
      if (const auto name = function.operator_name(); claim->input && capture->keeps_ends() && name.has_value())
        capture->keep_first(op, *name, function.inputs());
      const Quiet quiet;
      capture->look(op, own(c10::ArrayRef<c10::IValue>(inputs.data(), inputs.size()), function.num_inputs()), *claim);
      if (!context) context = std::make_unique<OperatorContext>();
      context->claims.emplace_back(capture, std::move(*claim));
    });
  }
  if (context) ++thread.claimed;
  return context;
}

void end(const at::RecordFunction& function, at::ObserverContext* base) {
  if (Muted::now()) return;
  ThreadState& thread = thread_state();
  if (function.scope() == at::RecordScope::BACKWARD_FUNCTION) {
    if (!thread.backward.empty()) thread.backward.pop_back();
    return;
  }
  if (!base) return;
  for (const std::shared_ptr<StepCapture>& capture : static_cast<OperatorContext*>(base)->evaluations)
    without_throwing(*capture,
                     [&] { capture->evaluation().end(tensors_in(function.outputs(), function.num_outputs())); });
  for (auto& [capture, claim] : static_cast<OperatorContext*>(base)->claims) {
    const auto begun = std::chrono::steady_clock::now();
    without_throwing(*capture, [&, &who = capture, &what = claim] {
      const Quiet quiet;
      who->end(operator_name(function.name()), std::move(what), tensors_in(function.outputs(), function.num_outputs()));
    });
    capture->add_time((std::chrono::steady_clock::now() - begun).count());
  }
  --thread.claimed;
}

}  // namespace

void observe(const std::shared_ptr<StepCapture>& capture) {
  const std::lock_guard<std::mutex> lock(registry_mutex);
  if (callback_handle == 0) {
    callback_handle =
        at::addGlobalCallback(at::RecordFunctionCallback(&start, &end)
                                  .needsInputs(true)
                                  .needsOutputs(true)
                                  .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
    callback_enabled = true;
  } else if (!callback_enabled) {
    at::reenableCallback(callback_handle);
    callback_enabled = true;
  }
  registry.push_back(capture);
  registry_version.fetch_add(1, std::memory_order_release);
}

void stop_observing(const std::shared_ptr<StepCapture>& capture) {
  const std::lock_guard<std::mutex> lock(registry_mutex);
  registry.erase(std::remove(registry.begin(), registry.end(), capture), registry.end());
  registry_version.fetch_add(1, std::memory_order_release);
  if (registry.empty() && callback_enabled) {
    at::disableCallback(callback_handle);
    callback_enabled = false;
  }
}

}  // namespace gradhealth::hooks
