#include "hooks/origin/flight_recorder.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <tuple>

#include <ATen/ATen.h>
#include <ATen/SequenceNumber.h>
#include <torch/csrc/autograd/function.h>

#include "hooks/statistics/feature_sums.h"

namespace gradhealth::hooks {
namespace {

/// Masks are many, and each of them is an origin until something is found to come of it.
constexpr std::size_t kMostOrigins = 10'000;
/// Slices of one piece of memory whose extremes are remembered.
constexpr std::size_t kMostScans = 64;

/// Operators whose infinities were written by somebody, not computed.
bool puts_values(std::string_view op) {
  constexpr std::array<std::string_view, 9> kOperators{"fill",      "index_copy",    "index_fill",
                                                       "index_put", "masked_fill",   "masked_scatter",
                                                       "scatter",   "slice_scatter", "where"};
  return std::binary_search(kOperators.begin(), kOperators.end(), op);
}

std::uint32_t version_of(const at::Tensor& tensor) {
  return tensor.is_inference() ? 0 : static_cast<std::uint32_t>(tensor._version());
}

bool has_memory(const at::Tensor& tensor) { return has_extremes(tensor) && tensor.layout() == at::kStrided; }

/// An operator that hands out (part of) what it was given has computed nothing.
bool is_view_of(const FlightRecorder::Call& call, const at::Tensor& output) {
  const void* storage = output.storage().unsafeGetStorageImpl();
  for (const FlightRecorder::Found& input : call.inputs)
    if (input.storage == storage && input.version == version_of(output)) return true;
  return false;
}

bool any_nan(const std::vector<TensorExtremes>& tensors) {
  return std::any_of(tensors.begin(), tensors.end(), [](const TensorExtremes& t) { return t.values.nan > 0; });
}

/// "feature 3" or "channel 1" of what enters a layer, as the run's feature axis names it.
std::string feature_name(const OperatorRecord& record, const TensorExtremes& input, std::int64_t position) {
  if (record.place != Place::kIn || input.sizes.size() < 2) return "";
  const bool channels = input.sizes.size() > 2 &&
                        (record.op.find("conv") != std::string::npos || record.op.find("_norm") != std::string::npos) &&
                        record.op != "layer_norm";
  const std::int64_t features = channels ? input.sizes[1] : input.sizes.back();
  if (features > kMostFeatures) return "all";
  std::int64_t plane = 1;
  for (std::size_t d = 2; d < input.sizes.size(); ++d) plane *= input.sizes[d];
  return (channels ? "channel " : "feature ") + std::to_string(channels ? position / plane : position % features);
}

}  // namespace

FlightRecorder::FlightRecorder(std::shared_ptr<const ModelState> model)
    : model_(std::move(model)), table_(std::make_shared<const StorageTable>(model_->tensors)) {
  const auto end = model_->tensors.begin() + static_cast<std::ptrdiff_t>(model_->parameters);
  gradients_ = std::make_shared<GradientTrace>(
      std::make_shared<const StorageTable>(std::vector<WatchedParameter>(model_->tensors.begin(), end)));
}

std::optional<FlightRecorder::Call> FlightRecorder::begin(std::string op, const std::vector<at::Tensor>& inputs) {
  // What carries no gradient is data on its way into the model, also on a loader's thread.
  if (std::none_of(inputs.begin(), inputs.end(), [](const at::Tensor& t) { return t.defined() && t.requires_grad(); }))
    return std::nullopt;
  Call call;
  call.op = std::move(op);
  call.first_node = at::sequence_number::peek();
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const at::Tensor& input : inputs)
    if (has_memory(input)) call.inputs.push_back(find(input));
  return call;
}

void FlightRecorder::end(Call&& call, const std::vector<at::Tensor>& outputs) {
  std::vector<at::Tensor> made;
  for (const at::Tensor& output : outputs)
    if (has_memory(output) && !is_view_of(call, output)) made.push_back(output);
  if (made.empty()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  auto record = std::make_shared<OperatorRecord>();
  record->op = call.op;
  place(call, *record);
  for (const Found& input : call.inputs)
    if (record->inputs.size() < kMostTensors || input.extremes.bad()) record->inputs.push_back(input.extremes);
  std::vector<bool> bad;
  for (const at::Tensor& output : made) {
    TensorExtremes extremes = look(output, memory_of(output));
    bad.push_back(extremes.bad());
    if (record->outputs.size() < kMostTensors || extremes.bad()) record->outputs.push_back(std::move(extremes));
  }
  record->origin_out = origin_of_outputs(call, record);
  const bool from_state = !call.inputs.empty() && std::all_of(call.inputs.begin(), call.inputs.end(),
                                                              [](const Found& found) { return found.state >= 0; });
  for (std::size_t i = 0; i < made.size(); ++i) {
    Memory& memory = memory_of(made[i]);
    memory.producer = record;
    memory.state = from_state ? call.inputs.front().state : -1;
    const bool whole = made[i].nbytes() >= made[i].storage().nbytes();
    if (bad[i] || whole) memory.origin = bad[i] ? record->origin_out : -1;
    if (bad[i] && made[i].numel() == 1) last_scalar_origin_ = record->origin_out;
    gradients_->watch(made[i], call.first_node, record);
  }
  ring_.push_back(std::move(record));
  if (ring_.size() > kFlightRing) ring_.pop_front();
  forget_freed_memory();
}

FlightRecorder::Memory& FlightRecorder::memory_of(const at::Tensor& tensor) {
  const void* key = tensor.storage().unsafeGetStorageImpl();
  const auto found = memory_.find(key);
  if (found != memory_.end()) return found->second;
  Memory memory{WeakStorage(tensor.storage().getWeakStorageImpl()), nullptr, -1, -1, {}};
  return memory_.emplace(key, std::move(memory)).first->second;
}

TensorExtremes FlightRecorder::look(const at::Tensor& tensor, Memory& memory) {
  const std::int64_t offset = tensor.storage_offset();
  const std::uint32_t version = version_of(tensor);
  const bool dense = tensor.is_non_overlapping_and_dense();
  if (dense)
    for (const Scan& scan : memory.scans)
      if (scan.offset == offset && scan.version == version && scan.extremes.values.count == tensor.numel()) {
        TensorExtremes extremes = scan.extremes;
        extremes.sizes = tensor.sizes().vec();
        return extremes;
      }
  TensorExtremes extremes = tensor_extremes(tensor);
  if (!dense) return extremes;
  if (memory.scans.size() >= kMostScans || (!memory.scans.empty() && memory.scans.front().version != version))
    memory.scans.clear();
  memory.scans.push_back({offset, version, extremes});
  return extremes;
}

FlightRecorder::Found FlightRecorder::find(const at::Tensor& tensor) {
  const void* key = tensor.storage().unsafeGetStorageImpl();
  const bool known = memory_.count(key) > 0;
  Memory& memory = memory_of(tensor);
  // Several parameters may share one piece of memory.
  const int state = table_->find(tensor);
  if (!known && state < 0 && tensor.grad_fn()) adopt(tensor, memory);
  Found found;
  found.extremes = look(tensor, memory);
  found.storage = key;
  found.version = version_of(tensor);
  found.state = state >= 0 ? state : memory.state;
  if (found.extremes.bad()) {
    if (memory.origin < 0) memory.origin = outside_origin(tensor, memory, found.extremes);
    found.origin = memory.origin;
  }
  found.producer = memory.producer;
  return found;
}

/// The result of something that is no operator of LibTorch's, such as a custom autograd function, or a compiled script.
void FlightRecorder::adopt(const at::Tensor& tensor, Memory& memory) {
  auto record = std::make_shared<OperatorRecord>();
  record->op = tensor.grad_fn()->name();
  record->place = last_module_.empty() ? Place::kUnknown : Place::kAfter;
  record->module = last_module_;
  record->outputs.push_back(tensor_extremes(tensor));
  for (const std::shared_ptr<const OperatorRecord>& behind : gradients_->watch(tensor, 0, record)) {
    if (behind->origin_out >= 0 && (record->origin_in < 0 || behind->origin_out < record->origin_in))
      record->origin_in = behind->origin_out;
    record->inputs.insert(record->inputs.end(), behind->outputs.begin(), behind->outputs.end());
  }
  if (record->inputs.size() > kMostTensors) record->inputs.resize(kMostTensors);
  if (record->outputs.front().bad()) {
    memory.origin = record->origin_in;
    if (memory.origin < 0) {
      Origin origin;
      origin.source = Origin::Source::kOperator;
      origin.at = record;
      memory.origin = add_origin(std::move(origin));
    }
    record->origin_out = memory.origin;
  }
  ring_.push_back(record);
  memory.producer = std::move(record);
}

int FlightRecorder::outside_origin(const at::Tensor& tensor, const Memory& memory, const TensorExtremes& extremes) {
  Origin origin;
  const int state = table_->find(tensor);
  if (state >= 0) {
    const auto index = static_cast<std::size_t>(state);
    origin.source = index < model_->parameters ? Origin::Source::kParameter : Origin::Source::kBuffer;
    origin.name = model_->tensors[index].name;
  } else if (memory.producer) {  // Written behind our back, under NoGradGuard for one.
    origin.source = Origin::Source::kUnknown;
  } else {
    origin.source = Origin::Source::kInput;
    origin.deliberate = extremes.values.nan == 0;
    std::tie(origin.sample, origin.position) = first_nonfinite(tensor);
  }
  return add_origin(std::move(origin));
}

void FlightRecorder::place(const Call& call, OperatorRecord& record) {
  const Found* weight = nullptr;
  const Found* latest = nullptr;
  for (const Found& input : call.inputs) {
    if (input.state >= 0 && !input.extremes.sizes.empty()) {
      if (!weight || input.extremes.sizes.size() > weight->extremes.sizes.size()) weight = &input;
    } else if (input.producer && !latest) {
      latest = &input;
    }
  }
  if (weight) {
    record.place = Place::kIn;
    last_module_ = record.module = model_->tensors[static_cast<std::size_t>(weight->state)].module;
    return;
  }
  record.module = latest && !latest->producer->module.empty() ? latest->producer->module : last_module_;
  if (!record.module.empty()) record.place = Place::kAfter;
}

int FlightRecorder::origin_of_outputs(const Call& call, const std::shared_ptr<OperatorRecord>& record) {
  int origin = -1;
  bool nan_before = false;
  for (const Found& input : call.inputs) {
    nan_before |= input.extremes.values.nan > 0;
    if (input.origin < 0) continue;
    if (origin < 0 || input.origin < origin) origin = input.origin;
    Origin& met = origins_[static_cast<std::size_t>(input.origin)];
    if (met.at) continue;  // It came from outside, and this operator is the first to meet it.
    met.at = record;
    if (met.source == Origin::Source::kInput) met.name = feature_name(*record, input.extremes, met.position);
  }
  record->origin_in = origin;
  const bool bad = std::any_of(record->outputs.begin(), record->outputs.end(), [](const auto& t) { return t.bad(); });
  if (!bad) return -1;
  const bool turns_nan = any_nan(record->outputs) && !nan_before;
  if (origin >= 0 && turns_nan) {
    Origin& before = origins_[static_cast<std::size_t>(origin)];
    if (before.deliberate)
      origin = -1;  // A row of a softmax that is masked entirely: the mask is right, the row is not.
    else if (!before.turned_nan)
      before.turned_nan = record;
  }
  if (origin >= 0) return origin;
  Origin made;
  made.source = Origin::Source::kOperator;
  made.at = record;
  made.deliberate = puts_values(record->op) && !any_nan(record->outputs);
  return add_origin(std::move(made));
}

int FlightRecorder::add_origin(Origin origin) {
  if (origins_.size() < kMostOrigins) {
    origin.before.assign(ring_.begin(), ring_.end());
    origins_.push_back(std::move(origin));
  }
  return static_cast<int>(origins_.size()) - 1;
}

void FlightRecorder::forget_freed_memory() {
  if (memory_.size() < most_memory_) return;
  for (auto it = memory_.begin(); it != memory_.end();) it = it->second.storage.expired() ? memory_.erase(it) : ++it;
  most_memory_ = 2 * memory_.size() + 1024;
}

Origin FlightRecorder::complete(int index) const {
  Origin origin = origins_[static_cast<std::size_t>(index)];
  if (origin.source != Origin::Source::kParameter) return origin;
  for (const Origin& other : origins_) origin.more_parameters += other.source == Origin::Source::kParameter;
  --origin.more_parameters;
  return origin;
}

std::optional<Origin> FlightRecorder::origin(const at::Tensor& loss) const {
  const bool bad_loss = has_memory(loss) && tensor_extremes(loss).bad();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (bad_loss) {
    const auto found = memory_.find(loss.storage().unsafeGetStorageImpl());
    const int index = found != memory_.end() && found->second.origin >= 0 ? found->second.origin : last_scalar_origin_;
    if (index >= 0) return complete(index);
  }
  std::optional<Origin> backward = gradients_->origin();
  if (!backward) return std::nullopt;
  const OperatorRecord& forward = *backward->forward;
  // An operator whose forward was not finite: its gradient only shows what began before.
  if (forward.origin_out >= 0) return complete(forward.origin_out);
  if (forward.origin_in >= 0 && !origins_[static_cast<std::size_t>(forward.origin_in)].deliberate)
    return complete(forward.origin_in);
  return backward;
}

void FlightRecorder::fail(const std::string& error) noexcept { gradients_->fail(error); }

std::string FlightRecorder::error() const { return gradients_->error(); }

}  // namespace gradhealth::hooks
