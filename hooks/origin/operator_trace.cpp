#include "hooks/origin/operator_trace.h"

// As in observer.cpp: RecordFunction::inputs() needs it.
#ifndef NDEBUG
#error "compile this file with -DNDEBUG; hooks/CMakeLists.txt does"
#endif

#include <algorithm>
#include <chrono>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

#include "hooks/muted.h"

namespace gradhealth::hooks {
namespace {

using Recorders = std::vector<std::shared_ptr<FlightRecorder>>;

std::mutex trace_mutex;
Recorders recorders;                     // Guarded by trace_mutex.
int users = 0;                           // Guarded by trace_mutex: traces of either kind.
at::CallbackHandle callback_handle = 0;  // Guarded by trace_mutex.

thread_local int depth = 0;                         // Operators in progress that are traced.
thread_local std::shared_ptr<FlightRecorder> only;  // Of a replay, …
thread_local int muted_around = 0;                  // … which may itself run where we look away.

struct TraceContext : at::ObserverContext {
  std::vector<std::pair<std::shared_ptr<FlightRecorder>, FlightRecorder::Call>> calls;
};

/// "aten::relu_" → "relu".
std::string operator_name(const char* name) {
  std::string op(name);
  if (const auto colon = op.rfind("::"); colon != std::string::npos) op.erase(0, colon + 2);
  if (op.size() > 1 && op.back() == '_') op.pop_back();
  return op;
}

template <typename Values>
std::vector<at::Tensor> tensors_in(const Values& values) {
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

template <typename Body>
void without_throwing(FlightRecorder& recorder, Body&& body) {
  const auto start = std::chrono::steady_clock::now();
  try {
    const Muted muted;
    body();
  } catch (const std::exception& error) {
    recorder.fail(error.what());
  } catch (...) {
    recorder.fail("an unknown exception while tracing an operator");
  }
  recorder.add_time((std::chrono::steady_clock::now() - start).count());
}

std::unique_ptr<at::ObserverContext> start(const at::RecordFunction& function) {
  if (Muted::depth() > muted_around || depth > 0 || !at::GradMode::is_enabled()) return nullptr;
  Recorders interested;
  if (only) {
    interested.push_back(only);
  } else {
    const std::lock_guard<std::mutex> lock(trace_mutex);
    interested = recorders;
  }
  if (interested.empty()) return nullptr;
  const std::vector<at::Tensor> inputs = tensors_in(function.inputs());
  std::unique_ptr<TraceContext> context;
  for (const std::shared_ptr<FlightRecorder>& recorder : interested) {
    std::optional<FlightRecorder::Call> call;
    without_throwing(*recorder, [&] { call = recorder->begin(operator_name(function.name()), inputs); });
    if (!call) continue;
    if (!context) context = std::make_unique<TraceContext>();
    context->calls.emplace_back(recorder, std::move(*call));
  }
  if (context) ++depth;
  return context;
}

void end(const at::RecordFunction& function, at::ObserverContext* base) {
  if (!base) return;
  --depth;
  auto* context = static_cast<TraceContext*>(base);
  const std::vector<at::Tensor> outputs = tensors_in(function.outputs());
  for (auto& [recorder, call] : context->calls)
    without_throwing(*recorder, [&, &who = recorder, &what = call] { who->end(std::move(what), outputs); });
}

void add_user() {
  if (users++ > 0) return;
  if (callback_handle == 0)
    callback_handle = at::addGlobalCallback(at::RecordFunctionCallback(&start, &end)
                                                .needsInputs(true)
                                                .needsOutputs(true)
                                                .scopes({at::RecordScope::FUNCTION}));
  else
    at::reenableCallback(callback_handle);
}

void remove_user() {
  if (--users == 0) at::disableCallback(callback_handle);
}

}  // namespace

OperatorTrace::OperatorTrace(std::shared_ptr<FlightRecorder> recorder) : recorder_(std::move(recorder)) {
  const std::lock_guard<std::mutex> lock(trace_mutex);
  recorders.push_back(recorder_);
  add_user();
}

OperatorTrace::~OperatorTrace() {
  const std::lock_guard<std::mutex> lock(trace_mutex);
  recorders.erase(std::remove(recorders.begin(), recorders.end(), recorder_), recorders.end());
  remove_user();
}

ReplayTrace::ReplayTrace(std::shared_ptr<FlightRecorder> recorder) {
  const std::lock_guard<std::mutex> lock(trace_mutex);
  add_user();
  only = std::move(recorder);
  muted_around = Muted::depth();
}

ReplayTrace::~ReplayTrace() {
  only.reset();
  muted_around = 0;
  const std::lock_guard<std::mutex> lock(trace_mutex);
  remove_user();
}

bool replaying() { return only != nullptr; }

}  // namespace gradhealth::hooks
