#include "hooks/observer.h"

// RecordFunction::inputs() asserts on a flag that LibTorch's release builds never set, unless NDEBUG is defined.
#ifndef NDEBUG
#error "compile this file with -DNDEBUG; hooks/CMakeLists.txt does"
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include "hooks/operator_trace.h"

namespace gradhealth::hooks {
namespace {

using Captures = std::vector<std::shared_ptr<StepCapture>>;

std::mutex registry_mutex;
Captures registry;                        // Guarded by registry_mutex.
std::atomic<std::uint64_t> registry_version{1};
at::CallbackHandle callback_handle = 0;   // Guarded by registry_mutex.
bool callback_enabled = false;            // Guarded by registry_mutex.

// What LibTorch and this callback need for an operator that turns out not to concern the model (measured, 290 to 430 ns
// with LibTorch 1.13 and 2.6): reading the clock for each of them would cost as much again.
constexpr std::int64_t kNanosecondsPerOperator = 400;

struct ThreadState {
  int claimed = 0;              ///< Depth of operators inside one that was claimed.
  std::vector<bool> backward;   ///< Nodes being differentiated; true for custom functions, which may run a forward.
  std::uint64_t version = 0;    ///< Of the copy below.
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

struct OperatorContext : at::ObserverContext {
  bool is_backward_node = false;
  std::string op;
  std::vector<std::pair<std::shared_ptr<StepCapture>, StepCapture::Claim>> claims;
};

/// "aten::relu_" → "relu".
std::string operator_name(const char* name) {
  std::string op(name);
  if (const auto colon = op.rfind("::"); colon != std::string::npos) op.erase(0, colon + 2);
  if (op.size() > 1 && op.back() == '_') op.pop_back();
  return op;
}

std::vector<at::Tensor> tensors_in(c10::ArrayRef<const c10::IValue> values) {
  std::vector<at::Tensor> tensors;
  for (const c10::IValue& value : values) {
    if (value.isTensor()) {
      tensors.push_back(value.toTensor());
    } else if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) tensors.push_back(tensor);
    }
  }
  return tensors;
}

at::Tensor first_tensor(const std::vector<c10::IValue>& values) {
  for (const c10::IValue& value : values)
    if (value.isTensor()) return value.toTensor();
  return {};
}

/// Our own tensor operators are neither differentiated nor observed.
struct Quiet {
  at::NoGradGuard no_grad;
  at::DisableRecordFunctionGuard no_record;
};

template <typename Body>
void without_throwing(const std::shared_ptr<StepCapture>& capture, Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  try {
    body();
  } catch (const std::exception& error) {
    capture->fail(error.what());
  } catch (...) {
    capture->fail("an unknown exception while observing an operator");
  }
  capture->add_time((std::chrono::steady_clock::now() - start).count());
}

std::unique_ptr<at::ObserverContext> start(const at::RecordFunction& function) {
  ThreadState& thread = thread_state();
  if (function.scope() == at::RecordScope::BACKWARD_FUNCTION) {
    auto context = std::make_unique<OperatorContext>();
    context->is_backward_node = true;
    thread.backward.push_back(std::string_view(function.name()).find("CppNode<") != std::string_view::npos);
    return context;
  }
  if (thread.claimed > 0 || thread.captures.empty() || !at::GradMode::is_enabled()) return nullptr;
  if (replaying()) return nullptr;  // The same step a second time.
  // With create_graph, the engine differentiates with gradients enabled; a checkpoint's forward is a custom function's.
  if (!thread.backward.empty() && !thread.backward.back()) return nullptr;
  const std::vector<at::Tensor> tensors = tensors_in(function.inputs());
  if (tensors.empty()) return nullptr;
  std::unique_ptr<OperatorContext> context;
  for (const std::weak_ptr<StepCapture>& weak : thread.captures) {
    const std::shared_ptr<StepCapture> capture = weak.lock();
    if (!capture) continue;
    capture->add_time(kNanosecondsPerOperator);
    std::optional<StepCapture::Claim> claim;
    without_throwing(capture, [&] {
      const Quiet quiet;
      claim = capture->begin(operator_name(function.name()), tensors);
    });
    if (!claim) continue;
    if (!context) context = std::make_unique<OperatorContext>();
    context->claims.emplace_back(capture, std::move(*claim));
  }
  if (!context) return nullptr;
  context->op = operator_name(function.name());
  ++thread.claimed;
  return context;
}

void end(const at::RecordFunction& function, at::ObserverContext* base) {
  if (!base) return;
  auto* context = static_cast<OperatorContext*>(base);
  ThreadState& thread = thread_state();
  if (context->is_backward_node) {
    if (!thread.backward.empty()) thread.backward.pop_back();
    return;
  }
  for (auto& [capture, claim] : context->claims) {
    without_throwing(capture, [&, &who = capture, &what = claim] {
      const Quiet quiet;
      who->end(context->op, std::move(what), first_tensor(function.outputs()));
    });
  }
  --thread.claimed;
}

}  // namespace

void observe(const std::shared_ptr<StepCapture>& capture) {
  const std::lock_guard<std::mutex> lock(registry_mutex);
  if (callback_handle == 0) {
    callback_handle = at::addGlobalCallback(
        at::RecordFunctionCallback(&start, &end)
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
