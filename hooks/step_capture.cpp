#include "hooks/step_capture.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>
#include <utility>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>

namespace gradhealth::hooks {
namespace {

/// Parameterless operators whose outputs are activations. Others (pooling, views, dropout, sums, and pow, which is part
/// of most hand-written losses) are followed only.
constexpr std::array<std::string_view, 32> kActivationOperators{
    "celu",        "clamp",      "clamp_max",  "clamp_min", "elu",        "exp",   "expm1",   "gelu",
    "glu",         "hardshrink", "hardsigmoid", "hardswish", "hardtanh",  "leaky_relu", "log", "log10",
    "log1p",       "log2",       "log_sigmoid", "log_softmax", "mish",    "relu",  "relu6",   "rsqrt",
    "selu",        "sigmoid",    "silu",       "softmax",   "softplus",   "sqrt",  "tanh",    "threshold"};

bool is_activation(std::string_view op) {
  return std::binary_search(kActivationOperators.begin(), kActivationOperators.end(), op);
}

bool counts_channels(std::string_view op) {
  for (std::string_view prefix : {"conv", "_conv", "batch_norm", "instance_norm", "group_norm"})
    if (op.substr(0, prefix.size()) == prefix) return true;
  return false;
}

/// Rollouts whose author forgot NoGradGuard run thousands of forward passes in one step: beyond this, they leave no trace.
constexpr std::size_t kMostCalls = 20'000;

/// Products that a bias is added to by an operator of its own: linear layers with inputs of three dimensions.
bool lacks_bias(std::string_view op) { return op == "matmul" || op == "mm" || op == "bmm" || op == "linear"; }

/// A parameter of another model, or a view of one.
bool is_foreign_parameter(const at::Tensor& tensor) {
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

StepCapture::StepCapture(std::shared_ptr<const StorageTable> table,
                         std::shared_ptr<const std::vector<std::string>> modules, std::string first_module)
    : table_(std::move(table)), modules_(std::move(modules)), first_module_(std::move(first_module)) {}

int StepCapture::parameter_of(const at::Tensor& tensor) {
  if (!tensor.has_storage()) return -1;
  const int parameter = table_->find(tensor);
  if (parameter >= 0 || derived_.empty()) return parameter;
  const auto found = derived_.find(tensor.storage().unsafeGetStorageImpl());
  return found != derived_.end() && !found->second.first.expired() ? found->second.second : -1;
}

int StepCapture::call_behind(const at::Tensor& tensor) {
  const auto found = followed_.find(tensor.unsafeGetTensorImpl());
  return found != followed_.end() && !found->second.first.expired() ? found->second.second : -1;
}

void StepCapture::follow(const at::Tensor& tensor, int call) {
  followed_.insert_or_assign(tensor.unsafeGetTensorImpl(), std::make_pair(WeakTensor(tensor.getIntrusivePtr()), call));
}

std::optional<StepCapture::Claim> StepCapture::begin(const std::string& op, const std::vector<at::Tensor>& inputs) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_ || calls_.size() >= kMostCalls) return std::nullopt;
  Claim claim;
  const at::Tensor* data = nullptr;
  const at::Tensor* weight = nullptr;
  bool foreign = false;
  for (const at::Tensor& input : inputs) {
    if (!input.defined()) continue;
    if (const int parameter = parameter_of(input); parameter >= 0) {
      if (!weight || input.dim() > weight->dim()) {  // The weight names the layer, not its bias.
        weight = &input;
        claim.parameter = parameter;
      }
      continue;
    }
    if (!data && input.dim() > 0) data = &input;
    claim.parent = std::max(claim.parent, call_behind(input));
    foreign |= is_foreign_parameter(input);
  }
  if (claim.parameter < 0) {
    // A generator's output goes on into the critic, whose activations are not the generator's.
    if (claim.parent < 0 || foreign) return std::nullopt;
    return claim;
  }
  // A penalty such as (w - w0)² combines a parameter with a tensor of its own shape; a layer has samples.
  if (!data || (weight->dim() > 1 && data->sizes() == weight->sizes())) {
    claim.kind = Claim::Kind::kDerivedWeight;
    return claim;
  }
  claim.kind = Claim::Kind::kLayer;
  const std::string& module = (*modules_)[static_cast<std::size_t>(claim.parameter)];
  if (first_module_.empty()) first_module_ = module;
  claim.adds_bias = op == "add" && weight->dim() <= 1 && claim.parent >= 0 &&
                    lacks_bias(calls_[static_cast<std::size_t>(claim.parent)].op);
  if (module == first_module_ && !claim.adds_bias)
    claim.input = input_sums(*data, counts_channels(op) ? Units::kChannels : Units::kLastDimension, op);
  return claim;
}

void StepCapture::end(const std::string& op, Claim&& claim, const at::Tensor& output) {
  if (!output.defined() || output.dim() == 0) return;  // A loss.
  if (claim.kind == Claim::Kind::kDerivedWeight) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (output.has_storage() && table_->find(output) < 0)
      derived_.insert_or_assign(output.storage().unsafeGetStorageImpl(),
                                std::make_pair(WeakStorage(output.storage().getWeakStorageImpl()), claim.parameter));
    return;
  }
  const bool layer = claim.kind == Claim::Kind::kLayer;
  if ((!layer && !is_activation(op)) || !readable(output)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (claim.parent >= 0) follow(output, claim.parent);
    return;
  }
  ActivationCall call;
  call.op = op;
  call.shape = shape_text(output);
  call.dtype = dtype_text(output);
  call.input = std::move(claim.input);
  call.parameter = layer ? claim.parameter : -1;
  const bool first = keeps_ends_ && call.input;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ActivationCall* parent = claim.parent >= 0 ? &calls_[static_cast<std::size_t>(claim.parent)] : nullptr;
    if (layer) {
      if (backward_since_layer_) ++pass_;
      backward_since_layer_ = false;
      call.module = call.base = (*modules_)[static_cast<std::size_t>(claim.parameter)];
      call.units = counts_channels(op) ? Units::kChannels : Units::kLastDimension;
      if (claim.adds_bias) {
        parent->superseded = true;
        call.module = call.base = parent->module;
        call.op = "linear";
        call.input = std::move(parent->input);
        call.parameter = parent->parameter;
      }
    } else {
      call.parent = claim.parent;
      call.base = op;
      call.module = parent->module;
      call.units = parent->units;
    }
    call.pass = pass_;
  }
  call.values = activation_sums(output, call.units);
  const int index = add_call(std::move(call), output);
  if (!keeps_ends_ || !layer || index < 0) return;
  if (first) keep_first_output(op, output);
  keep_output(index, output);
}

void StepCapture::tap(const std::string& name, const at::Tensor& tensor) {
  ActivationCall call;
  call.base = name;
  call.op = "tap";
  call.shape = shape_text(tensor);
  call.dtype = dtype_text(tensor);
  call.values = activation_sums(tensor.dim() > 0 ? tensor : tensor.reshape({1}), call.units);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    call.pass = pass_;
  }
  add_call(std::move(call), tensor);
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
  follow(output, index);
  // On the node, not on the tensor: a tensor hook would move to the result of a later in-place operator.
  if (node)
    node->add_pre_hook(
        std::make_unique<GradientHook>(weak_from_this(), index, static_cast<std::uint32_t>(output.output_nr())));
  return index;
}

void StepCapture::add_gradient(int call, const at::Tensor& gradient) {
  ElementSums sums;
  const bool defined = readable(gradient);
  if (defined) sums = tensor_sums(gradient);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return;
  ActivationCall& entry = calls_[static_cast<std::size_t>(call)];
  backward_since_layer_ = true;
  entry.gradient_seen |= defined;
  entry.gradient += sums;
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

void StepCapture::keep_first(const std::string& op, const c10::OperatorName& name,
                             c10::ArrayRef<const c10::IValue> arguments) {
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

void StepCapture::keep_first_output(const std::string& op, const at::Tensor& output) {
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
  derived_.clear();
  ends_ = ProbeEnds{};
  return std::move(calls_);
}

}  // namespace gradhealth::hooks
