#include "hooks/capture/step_capture.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>

#include "hooks/statistics/reading.h"

namespace gradhealth::hooks {
namespace {

/// Parameterless operators whose outputs are activations. Others (pooling, views, dropout, sums, and pow, which is part
/// of most hand-written losses) are followed only.
constexpr std::array<std::string_view, 32> kActivationOperators{
    "celu",  "clamp",      "clamp_max",   "clamp_min",   "elu",      "exp",        "expm1", "gelu",
    "glu",   "hardshrink", "hardsigmoid", "hardswish",   "hardtanh", "leaky_relu", "log",   "log10",
    "log1p", "log2",       "log_sigmoid", "log_softmax", "mish",     "relu",       "relu6", "rsqrt",
    "selu",  "sigmoid",    "silu",        "softmax",     "softplus", "sqrt",       "tanh",  "threshold"};

bool is_activation(std::string_view op) {
  return std::binary_search(kActivationOperators.begin(), kActivationOperators.end(), op);
}

bool counts_channels(std::string_view op) {
  for (std::string_view prefix : {"conv", "_conv", "batch_norm", "instance_norm", "group_norm"})
    if (op.substr(0, prefix.size()) == prefix) return true;
  return false;
}

/// Rollouts whose author forgot NoGradGuard run thousands of forward passes in one step: beyond this, they leave no
/// trace.
constexpr std::size_t kMostCalls = 20'000;

constexpr std::size_t kMostFollowed = 16 * kMostCalls;
constexpr std::size_t kMostStrangers = 64;

/// What an operator returns beside the activation; empty for what is none.
std::string_view further_output(std::string_view op, std::size_t index) {
  if (op == "lstm") return index == 1 ? "h_n" : "c_n";
  if (op == "gru" || op == "rnn_tanh" || op == "rnn_relu") return "h_n";
  if (op == "lstm_cell") return "c";
  return {};
}

/// Operators that a penalty combines a parameter with a constant by, such as w - w0.
bool is_elementwise(std::string_view op) {
  return op == "add" || op == "sub" || op == "rsub" || op == "mul" || op == "div";
}

/// Products that a bias is added to by an operator of its own: linear layers with inputs of three dimensions.
bool lacks_bias(std::string_view op) { return op == "matmul" || op == "mm" || op == "bmm" || op == "linear"; }

/// Something that gathers a gradient, or a view of it.
bool is_leaf(const at::Tensor& tensor) {
  return tensor.requires_grad() && (tensor.is_leaf() || (tensor.is_view() && tensor._base().is_leaf()));
}

/// Feeds the gradient at one recorded call to its capture. Holds no tensor; the graph owns the hook.
class GradientHook : public torch::autograd::FunctionPreHook {
 public:
  GradientHook(std::weak_ptr<StepCapture> capture, int call, std::uint32_t output)
      : capture_(std::move(capture)), call_(call), output_(output) {}

  torch::autograd::variable_list operator()(const torch::autograd::variable_list& gradients) override {
    if (const std::shared_ptr<StepCapture> capture = capture_.lock()) {
      try {
        const auto start = std::chrono::steady_clock::now();
        if (output_ < gradients.size()) capture->add_gradient(call_, gradients[output_]);
        capture->add_time((std::chrono::steady_clock::now() - start).count());
      } catch (const std::exception& error) {  // One that leaves would come out of the trainer's backward().
        capture->fail(error.what());
      } catch (...) {
        capture->fail("an unknown exception while reading a gradient");
      }
    }
    return gradients;
  }

 private:
  std::weak_ptr<StepCapture> capture_;
  int call_;
  std::uint32_t output_;
};

}  // namespace

void complete(std::vector<ActivationCall>& calls, const Readback& readback) {
  for (ActivationCall& call : calls) {
    complete(call.values, readback);
    if (call.input) complete(*call.input, readback);
    for (const LateSums& late : call.late_gradients) call.gradient += sums_of(late, readback);
    call.late_gradients.clear();
  }
}

StepCapture::StepCapture(std::shared_ptr<const StorageTable> table, std::shared_ptr<const ParameterList> parameters,
                         std::string first_module)
    : table_(std::move(table)),
      parameters_(std::move(parameters)),
      first_module_(std::move(first_module)),
      used_(parameters_->size()) {}

int StepCapture::parameter_of(const at::Tensor& tensor) const {
  if (!tensor.has_storage()) return -1;
  const int parameter = table_->find(tensor);
  if (parameter >= 0 || derived_.empty()) return parameter;
  const auto found = derived_.find(tensor.storage().unsafeGetStorageImpl());
  return found != derived_.end() && !found->second.first.expired() ? found->second.second : -1;
}

int StepCapture::call_behind(const at::Tensor& tensor) const {
  const auto found = followed_.find(tensor.unsafeGetTensorImpl());
  return found != followed_.end() && !found->second.first.expired() ? found->second.second : -1;
}

int StepCapture::stranger_behind(const at::Tensor& tensor) const {
  if (from_strangers_.empty()) return -1;
  const auto found = from_strangers_.find(tensor.unsafeGetTensorImpl());
  return found != from_strangers_.end() && !found->second.first.expired() ? found->second.second : -1;
}

void StepCapture::follow(const at::Tensor& tensor, int call, int stranger) {
  if (followed_.size() + from_strangers_.size() > kMostFollowed) return;
  const c10::TensorImpl* address = tensor.unsafeGetTensorImpl();
  const auto remember = [&](auto& map, int what) {
    if (what >= 0) map.insert_or_assign(address, std::make_pair(WeakTensor(tensor.getIntrusivePtr()), what));
  };
  remember(followed_, call);
  remember(from_strangers_, stranger);
}

void StepCapture::derive(const at::Tensor& tensor, int parameter) {
  if (tensor.has_storage() && table_->find(tensor) < 0)
    derived_.insert_or_assign(tensor.storage().unsafeGetStorageImpl(),
                              std::make_pair(WeakStorage(tensor.storage().getWeakStorageImpl()), parameter));
}

/// Whether a layer has taken it for its data before: a leaf because the gradient by the input is asked for.
bool StepCapture::is_input(const at::Tensor& leaf) const {
  return !inputs_.empty() && leaf.has_storage() && inputs_.count(leaf.storage().unsafeGetStorageImpl()) > 0;
}

/// Parameters move when a model is converted after the step began; the first that is used shows as an unknown leaf.
bool StepCapture::refresh_table(const at::Tensor& leaf) {
  if (!unknown_leaves_.insert(leaf.unsafeGetTensorImpl()).second || table_->holds_for(*parameters_)) return false;
  table_ = std::make_shared<const StorageTable>(*parameters_);
  return true;
}

/// The weight names a layer, not its bias; but of a weight that is tied, several layers, among which the bias decides.
bool StepCapture::names_better(int parameter, const at::Tensor& tensor, const Roles& roles) const {
  if (roles.parameter < 0) return true;
  const bool now = tied(roles.parameter);
  return now == tied(parameter) ? tensor.dim() > roles.weight->dim() : now;
}

StepCapture::Roles StepCapture::roles_of(c10::ArrayRef<const at::Tensor*> inputs) {
  Roles roles;
  const at::Tensor* leaf_data = nullptr;
  for (const at::Tensor* each : inputs) {
    const at::Tensor& input = *each;
    if (!input.defined()) continue;
    int parameter = parameter_of(input);
    const int call = parameter < 0 ? call_behind(input) : -1;
    const bool leaf = parameter < 0 && call < 0 && is_leaf(input) && !is_input(input);
    if (leaf && refresh_table(input)) parameter = parameter_of(input);
    if (parameter >= 0) {
      used_[static_cast<std::size_t>(parameter)] = true;
      if (names_better(parameter, input, roles)) roles.parameter = parameter;
      if (!roles.weight || input.dim() > roles.weight->dim()) {
        roles.weight = &input;
        roles.weight_parameter = parameter;
      }
      continue;
    }
    if (leaf && (!roles.stranger || input.dim() > roles.stranger->dim())) roles.stranger = &input;
    if (input.dim() > 0) {
      const at::Tensor*& data = leaf ? leaf_data : roles.data;
      if (!data) data = &input;
    }
    roles.parent = std::max(roles.parent, call);
    roles.behind_stranger = std::max(roles.behind_stranger, stranger_behind(input));
  }
  if (!roles.data) roles.data = leaf_data;  // An input whose gradient is asked for.
  return roles;
}

std::optional<StepCapture::Claim> StepCapture::begin(std::string_view op, c10::ArrayRef<const at::Tensor*> inputs) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_ || calls_.size() >= kMostCalls) return std::nullopt;
  const Roles roles = roles_of(inputs);
  std::optional<Claim> claim = claim_of(op, roles);
  if (!claim || claim->kind != Claim::Kind::kLayer) return claim;
  if (claim->stranger >= 0) strangers_[static_cast<std::size_t>(claim->stranger)].inside = true;
  const std::string& module = module_named_by(claim->parameter);
  if (first_module_.empty()) first_module_ = module;
  if (module != first_module_ || claim->adds_bias) return claim;
  const auto start = std::chrono::steady_clock::now();
  const at::NoGradGuard no_grad;
  const at::DisableRecordFunctionGuard no_record;
  const Units units = counts_channels(op) ? Units::kChannels : Units::kLastDimension;
  claim->input = reading_of(*roles.data) == Reading::kLater
                     ? late_input_sums(*roles.data, units, std::string(op), *readback_)
                     : input_sums(*roles.data, units, std::string(op));
  add_time((std::chrono::steady_clock::now() - start).count());
  return claim;
}

std::optional<StepCapture::Claim> StepCapture::claim_of(std::string_view op, const Roles& roles) {
  Claim claim;
  claim.parameter = roles.parameter;
  claim.weight = roles.weight_parameter;
  claim.parent = roles.parent;
  claim.stranger = roles.behind_stranger;
  if (roles.parameter < 0) {
    if (roles.stranger && roles.parent >= 0) {
      // A generator's output goes on into the critic, whose activations are not the generator's.
      claim.stranger = meet_stranger(op, *roles.stranger, roles.parent);
      claim.parent = -1;
    }
    if (claim.parent < 0 && claim.stranger < 0) return std::nullopt;
    return claim;
  }
  // A penalty such as (w - w0)² combines a parameter with a constant of its own shape; a layer has samples.
  const bool constant = roles.data && roles.parent < 0 && !roles.data->requires_grad() && is_elementwise(op) &&
                        roles.data->sizes() == roles.weight->sizes();
  if (!roles.data || constant) {
    claim.kind = Claim::Kind::kDerivedWeight;
    return claim;
  }
  claim.kind = Claim::Kind::kLayer;
  if (roles.stranger == roles.data && roles.data->has_storage())
    inputs_.insert(roles.data->storage().unsafeGetStorageImpl());
  else if (roles.stranger)
    meet_stranger(op, *roles.stranger, roles.parent);
  claim.adds_bias = op == "add" && roles.weight->dim() <= 1 && claim.parent >= 0 &&
                    lacks_bias(calls_[static_cast<std::size_t>(claim.parent)].op);
  return claim;
}

int StepCapture::meet_stranger(std::string_view op, const at::Tensor& leaf, int parent) {
  if (strangers_.size() >= kMostStrangers) return -1;
  Stranger stranger;
  stranger.op = op;
  stranger.shape = shape_text(leaf.is_view() ? at::Tensor(leaf._base()) : leaf);
  stranger.behind = parent >= 0 ? calls_[static_cast<std::size_t>(parent)].module : "the input";
  strangers_.push_back(std::move(stranger));
  return static_cast<int>(strangers_.size()) - 1;
}

void StepCapture::resolve_strangers() {
  for (Stranger& stranger : strangers_) {
    int candidates = 0;
    for (std::size_t i = 0; i < used_.size(); ++i) {
      if (used_[i] || shape_text((*parameters_)[i].tensor) != stranger.shape) continue;
      ++candidates;
      stranger.replaces = (*parameters_)[i].name;
    }
    if (candidates != 1) stranger.replaces.clear();
  }
}

void StepCapture::end(std::string_view op, Claim&& claim, c10::ArrayRef<const at::Tensor*> outputs) {
  if (outputs.empty() || !outputs[0]->defined() || outputs[0]->dim() == 0) return;  // A loss.
  const at::Tensor& output = *outputs[0];
  const bool layer = claim.kind == Claim::Kind::kLayer;
  const bool recorded = (layer || (claim.parent >= 0 && is_activation(op))) && reading_of(output) != Reading::kNever;
  if (claim.kind == Claim::Kind::kDerivedWeight || !recorded) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const at::Tensor* each : outputs) {
      if (!each->defined()) continue;
      if (claim.kind == Claim::Kind::kDerivedWeight)
        derive(*each, claim.parameter);
      else
        follow(*each, claim.parent, claim.stranger);
    }
    return;
  }
  const bool first = keeps_ends_ && claim.input;
  const int index = record(describe(op, claim), output);
  if (keeps_ends_ && layer && index >= 0) {
    if (first) keep_first_output(op, output);
    keep_output(index, output);
  }
  if (!layer && claim.stranger >= 0) {
    const std::lock_guard<std::mutex> lock(mutex_);
    follow(output, index, claim.stranger);
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
  if (claim.kind != Claim::Kind::kLayer) {
    call.parent = claim.parent;
    call.base = op;
    return call;
  }
  call.parameter = claim.weight;
  call.module = module_named_by(claim.parameter);
  call.units = counts_channels(op) ? Units::kChannels : Units::kLastDimension;
  call.pass = begin_pass();
  if (claim.adds_bias && !finished_) {
    ActivationCall& product = calls_[static_cast<std::size_t>(claim.parent)];
    product.superseded = true;
    if (!tied(product.parameter)) call.module = product.module;
    call.parameter = product.parameter;
    call.op = "linear";
    call.input = std::move(product.input);
  }
  call.base = call.module;
  return call;
}

/// Completes a call by what its output and its parent tell.
int StepCapture::record(ActivationCall&& call, const at::Tensor& output) {
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
  call.values = read(output, call.units);
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

ActivationSums StepCapture::read(const at::Tensor& tensor, Units units) {
  return reading_of(tensor) == Reading::kLater ? late_activation_sums(tensor, units, *readback_)
                                               : activation_sums(tensor, units, sampling_);
}

int StepCapture::add_call(ActivationCall&& call, const at::Tensor& output) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return -1;
  const int index = static_cast<int>(calls_.size());
  const std::shared_ptr<torch::autograd::Node> node = output.grad_fn();
  call.gradient_expected = node != nullptr;
  call.node = node;
  call.output_nr = static_cast<std::uint32_t>(output.output_nr());
  call.sizes = output.sizes().vec();
  calls_.push_back(std::move(call));
  follow(output, index, -1);
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
  const at::NoGradGuard no_grad;
  const at::DisableRecordFunctionGuard no_record;  // The operators here are not to come back to this lock.
  const std::lock_guard<std::mutex> lock(mutex_);
  // A pass whose graph is gone was not the one that will be probed.
  ends_.first_repeats = !ends_.first_node.expired();
  if (ends_.first_repeats) return;
  ends_.first.reset();
  ends_.input.reset();
  if (!can_replay(op)) return;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (!arguments[i].isTensor()) continue;
    const at::Tensor& tensor = arguments[i].toTensor();
    if (!readable(tensor) || tensor.dim() == 0 || parameter_of(tensor) >= 0) continue;
    ends_.first.emplace(name, std::vector<c10::IValue>(arguments.begin(), arguments.end()), i);
    ends_.input = ends_.first->input();
    ends_.input_version = static_cast<std::int64_t>(ends_.input._version());
    return;
  }
}

void StepCapture::keep_first_output(std::string_view op, const at::Tensor& output) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (ends_.first_repeats) return;
  ends_.first_node = output.grad_fn();
  ends_.first_output_nr = static_cast<std::uint32_t>(output.output_nr());
  if (op != "embedding") return;
  ends_.input = output.detach();
  ends_.input_version = static_cast<std::int64_t>(output._version());
}

void StepCapture::keep_output(int call, const at::Tensor& output) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ends_.output = output.detach();
  ends_.output_version = static_cast<std::int64_t>(output._version());
  ends_.output_call = call;
}

bool ProbeEnds::stale() const {
  return (input.defined() && static_cast<std::int64_t>(input._version()) != input_version) ||
         (output.defined() && static_cast<std::int64_t>(output._version()) != output_version);
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
    std::shared_ptr<torch::autograd::Node> node = call.node.lock();
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
  followed_.clear();
  from_strangers_.clear();
  derived_.clear();
  resolve_strangers();
  ends_ = ProbeEnds{};
  return std::move(calls_);
}

}  // namespace gradhealth::hooks
