#include "hooks/capture/step_capture.h"

#include <chrono>
#include <string_view>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>

#include "hooks/capture/gradient_hook.h"
#include "hooks/capture/operator_kinds.h"
#include "hooks/muted.h"
#include "hooks/statistics/reading.h"
#include "hooks/unobserved.h"

namespace gradhealth::hooks {

StepCapture::StepCapture(std::shared_ptr<const StorageTable> table, std::shared_ptr<const ParameterList> parameters,
                         std::string first_module)
    : first_module_(std::move(first_module)),
      claims_(table, parameters, calls_),
      evaluation_(std::move(table), std::move(parameters), first_module_) {}

TensorOrigin StepCapture::origin_of(const at::Tensor& tensor) const {
  const Claims::Trail trail = claims_.trail_of(tensor);
  TensorOrigin origin;
  origin.call = trail.call;
  origin.is_output = trail.is_output;
  if (trail.call < 0 || !trail.is_output) return origin;
  const auto call = [this](int index) -> const ActivationCall& { return calls_[static_cast<std::size_t>(index)]; };
  int producer = trail.call;
  while (call(producer).op.rfind("clamp", 0) == 0 && call(producer).of_output) producer = call(producer).parent;
  if (!is_activation(call(producer).op)) producer = trail.call;
  if (!is_activation(call(producer).op)) return origin;
  origin.producer = producer;
  origin.produced_by = call(producer).op;
  origin.along = call(producer).along;
  if (origin.along >= 0) origin.sizes = call(producer).sizes;
  return origin;
}

std::optional<Claim> StepCapture::begin(std::string_view op, c10::ArrayRef<const at::Tensor*> inputs) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_ || calls_.size() >= kMostCalls) return std::nullopt;
  std::optional<Claim> claim = claims_.claim(op, inputs);
  if (!claim || claim->kind != Claim::Kind::kLayer) return claim;
  const std::string& module = claims_.watched(claim->parameter).module;
  if (first_module_.empty()) first_module_ = module;
  if (module == first_module_ && !claim->adds_bias) read_input(op, *claim);
  return claim;
}

void StepCapture::read_input(std::string_view op, Claim& claim) {
  const auto start = std::chrono::steady_clock::now();
  const at::NoGradGuard no_grad;
  const Muted muted;
  const Units units = counts_channels(op) ? Units::kChannels : Units::kLastDimension;
  claim.input = read_input(*claim.data, units, std::string(op));
  add_time((std::chrono::steady_clock::now() - start).count());
}

void StepCapture::look(std::string_view op, c10::ArrayRef<const c10::IValue> arguments, Claim& claim) {
  if (claim.kind == Claim::Kind::kDerivedWeight) return;
  NoteOptions options{sampling_.elements == Sampling::kEverything, compares_by_hand_};
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    options.compares_by_hand &= facts_.may_compare_by_hand();
  }
  claim.notes = notes_on(op, arguments, options, [this](const at::Tensor& tensor) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return finished_ ? TensorOrigin{} : origin_of(tensor);
  });
}

void StepCapture::note_comparison(Claim& claim, const at::Tensor& output) {
  const bool begins = claim.notes && claim.notes->comparison && output.requires_grad();
  if (!begins && claim.comparison < 0) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return;
  if (begins) claim.comparison = facts_.add(std::move(*claim.notes->comparison), claim.comparison);
  if (output.dim() == 0) facts_.reduce(claim.comparison);
}

/// @param call the operator's own, -1 if it is none.
void StepCapture::note_call(Claim& claim, int call) {
  if (!claim.notes) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return;
  if (claim.notes->mode) facts_.add(*claim.notes->mode, call >= 0 ? call : claim.parent);
  facts_.add(std::move(claim.notes->patterns), call, claim.comparison);
}

void StepCapture::end(std::string_view op, Claim&& claim, c10::ArrayRef<const at::Tensor*> outputs) {
  if (outputs.empty() || !outputs[0]->defined()) return;
  note_comparison(claim, *outputs[0]);
  note_call(claim, outputs[0]->dim() > 0 ? take_outputs(op, claim, outputs) : -1);  // Without dimensions: a loss.
}

void StepCapture::follow_outputs(std::string_view op, const Claim& claim, c10::ArrayRef<const at::Tensor*> outputs) {
  const bool keeps = claim.of_output && (keeps_values(op) || (claim.notes && claim.notes->keeps_values));
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const at::Tensor* each : outputs) {
    if (!each->defined()) continue;
    if (claim.kind == Claim::Kind::kDerivedWeight)
      claims_.derive(*each, claim.parameter);
    else
      claims_.follow(*each, {claim.parent, keeps, claim.comparison}, claim.stranger);
  }
}

/// @returns the operator's call, -1 if it is none.
int StepCapture::take_outputs(std::string_view op, Claim& claim, c10::ArrayRef<const at::Tensor*> outputs) {
  const at::Tensor& output = *outputs[0];
  const bool layer = claim.kind == Claim::Kind::kLayer;
  const bool recorded = (layer || (claim.parent >= 0 && is_activation(op))) && reading_of(output) != Reading::kNever;
  if (claim.kind == Claim::Kind::kDerivedWeight || !recorded) {
    follow_outputs(op, claim, outputs);
    return -1;
  }
  const bool first = keeps_ends_ && claim.input;
  const int index = record(describe(op, claim), output, claim.notes ? claim.notes->saturation : std::nullopt);
  if (keeps_ends_ && layer && index >= 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (first) ends_.keep_first_output(op, output);
    ends_.keep_output(index, output);
  }
  if (!layer && claim.stranger >= 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    claims_.follow(output, {index, true, -1}, claim.stranger);
  }
  for (std::size_t i = 1; index >= 0 && layer && i < outputs.size(); ++i) {
    const std::string_view name = further_output(op, i);
    if (name.empty() || reading_of(*outputs[i]) == Reading::kNever || outputs[i]->dim() == 0) continue;
    ActivationCall further;
    further.op = op;
    further.base = name;
    further.parent = index;
    record(std::move(further), *outputs[i]);
  }
  return index;
}

/// A layer on a thread that has differentiated its last pass begins another one.
int StepCapture::begin_pass() {
  const auto [pass, added] = passes_.try_emplace(std::this_thread::get_id(), 0);
  if (added || differentiated_[static_cast<std::size_t>(pass->second)]) {
    pass->second = static_cast<int>(differentiated_.size());
    differentiated_.push_back(false);
  }
  return pass->second;
}

ActivationCall StepCapture::describe(std::string_view op, Claim& claim) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ActivationCall call;
  call.op = op;
  call.input = std::move(claim.input);
  call.of_output = claim.of_output;
  if (claim.notes) {
    call.detail = claim.notes->detail;
    call.along = claim.notes->softmax_along;
  }
  if (claim.kind != Claim::Kind::kLayer) {
    call.parent = claim.parent;
    call.base = op;
    return call;
  }
  call.parameter = claim.weight;
  call.module = claims_.watched(claim.parameter).module;
  call.units = counts_channels(op) ? Units::kChannels : Units::kLastDimension;
  call.pass = begin_pass();
  if (claim.adds_bias && !finished_) {
    ActivationCall& product = calls_[static_cast<std::size_t>(claim.parent)];
    product.superseded = true;
    if (!claims_.tied(product.parameter)) call.module = product.module;
    call.parameter = product.parameter;
    call.op = "linear";
    call.input = std::move(product.input);
  }
  call.base = call.module;
  return call;
}

/// Completes a call by what its output and its parent tell.
int StepCapture::record(ActivationCall&& call, const at::Tensor& output, const std::optional<Saturation>& saturation) {
  call.shape = shape_text(output);
  call.dtype = dtype_text(output);
  if (call.parent >= 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finished_) return -1;
    const ActivationCall& parent = calls_[static_cast<std::size_t>(call.parent)];
    call.module = parent.module;
    call.units = parent.units;
    call.pass = parent.pass;
  }
  call.values = read(output, call.units, saturation ? &saturation->outside : nullptr);
  if (saturation && reading_of(output) == Reading::kNow) {
    call.detail.saturated = call.values.outside;
    call.detail.saturable = static_cast<double>(call.values.elements.count) / saturation->elements_per_case;
  }
  return add_call(std::move(call), output);
}

void StepCapture::tap(const std::string& name, const at::Tensor& tensor) {
  ActivationCall call;
  call.base = name;
  call.op = "tap";
  call.shape = shape_text(tensor);
  call.dtype = dtype_text(tensor);
  call.values = read(tensor.dim() > 0 ? tensor : tensor.reshape({1}), call.units);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    call.pass = begin_pass();
  }
  add_call(std::move(call), tensor);
}

void StepCapture::give_target(const at::Tensor& target) {
  if (!has_values(target)) return;
  TargetSums sums = target_sums(target, std::nullopt, kSampledElements);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!finished_) facts_.give(std::move(sums));
}

void StepCapture::give_input(const at::Tensor& input) {
  if (!input.defined() || input.dim() == 0) return;
  const Units units = input.dim() >= 4 ? Units::kChannels : Units::kLastDimension;
  InputSums sums = read_input(input, units, "input");
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!finished_) facts_.give(std::move(sums));
}

InputSums StepCapture::read_input(const at::Tensor& tensor, Units units, std::string kind) {
  return reading_of(tensor) == Reading::kLater
             ? late_input_sums(tensor, units, std::move(kind), *readback_, input_values_)
             : input_sums(tensor, units, std::move(kind), input_values_);
}

ActivationSums StepCapture::read(const at::Tensor& tensor, Units units, const Outside* outside) {
  return reading_of(tensor) == Reading::kLater ? late_activation_sums(tensor, units, *readback_)
                                               : activation_sums(tensor, units, sampling_, outside);
}

int StepCapture::add_call(ActivationCall&& call, const at::Tensor& output) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return -1;
  const int index = static_cast<int>(calls_.size());
  const NodePtr node = output.grad_fn();
  call.gradient_expected = node != nullptr;
  call.node = node;
  call.output_nr = static_cast<std::uint32_t>(output.output_nr());
  call.sizes = output.sizes().vec();
  calls_.push_back(std::move(call));
  claims_.follow(output, {index, true, -1}, -1);
  // On the node, not on the tensor: a tensor hook would move to the result of a later in-place operator.
  if (node)
    node->add_pre_hook(
        std::make_unique<GradientHook>(weak_from_this(), index, static_cast<std::uint32_t>(output.output_nr())));
  return index;
}

void StepCapture::add_gradient(int call, const at::Tensor& gradient) {
  const auto index = static_cast<std::size_t>(call);
  const Reading reading = reading_of(gradient);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finished_) return;
    differentiated_[static_cast<std::size_t>(calls_[index].pass)] = true;
    if (reading == Reading::kNever || calls_[index].superseded) return;
  }
  ElementSums sums;
  LateSums late;
  if (reading == Reading::kNow) sums = gradient_sums(gradient);
  if (reading == Reading::kLater) late = late_sums(gradient, Detail::kSums, *readback_);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return;
  calls_[index].gradient_seen = true;
  calls_[index].gradient += sums;
  if (reading == Reading::kLater) calls_[index].late_gradients.push_back(late);
}

void StepCapture::forget_gradients() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (ActivationCall& call : calls_) {
    call.gradient_seen = false;
    call.gradient = {};
    call.late_gradients.clear();
  }
}

void StepCapture::fail(const std::string& error) noexcept {
  try {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (error_.empty()) error_ = error;
  } catch (...) {  // Out of memory for the message: there is nobody left to tell.
  }
}

std::string StepCapture::error() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return error_;
}

void StepCapture::keep_first(std::string_view op, const c10::OperatorName& name,
                             c10::ArrayRef<const c10::IValue> arguments) {
  const Unobserved unobserved;  // The operators here are not to come back to this lock.
  const std::lock_guard<std::mutex> lock(mutex_);
  ends_.keep_first(op, name, arguments, [this](const at::Tensor& tensor) { return claims_.parameter_of(tensor) >= 0; });
}

ProbeEnds StepCapture::take_ends() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(ends_, ProbeEnds{});
}

std::vector<ProbeTap> StepCapture::probe_taps() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<ProbeTap> taps;
  for (std::size_t i = 0; i < calls_.size(); ++i) {
    const ActivationCall& call = calls_[i];
    NodePtr node = call.node.lock();
    if (!node || call.superseded) continue;
    taps.push_back({static_cast<int>(i), call.parent, call.parameter, call.op, call.module, call.sizes,
                    call.values.elements.rms(), std::move(node), call.output_nr});
  }
  return taps;
}

void StepCapture::set_probe(int call, const ActivationProbe& probe) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!finished_) calls_[static_cast<std::size_t>(call)].probe = probe;
}

std::vector<ActivationCall> StepCapture::finish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  finished_ = true;
  claims_.finish();
  ends_ = ProbeEnds{};
  facts_.evaluation = evaluation_.finish();
  return std::move(calls_);
}

StepFacts StepCapture::take_facts() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return std::move(facts_);
}

}  // namespace gradhealth::hooks
