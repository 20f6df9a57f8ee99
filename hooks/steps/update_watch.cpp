#include "hooks/steps/update_watch.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <ATen/ATen.h>

namespace gradhealth::hooks {
namespace {

const void* storage_of(const at::Tensor& tensor) {
  return tensor.has_storage() ? tensor.storage().unsafeGetStorageImpl() : nullptr;
}

std::int64_t version_of(const at::Tensor& tensor) {
  return tensor.is_inference() ? 0 : static_cast<std::int64_t>(tensor._version());
}

bool is_one_of(std::string_view op, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), op) != names.end();
}

/// Operators that LibTorch's optimizers write parameters with. Not fill_ and copy_: other operators use them inside.
bool may_be_an_update(std::string_view op, const at::Tensor& target) {
  return !at::GradMode::is_enabled() && target.numel() > 1 && target.is_floating_point() &&
         is_one_of(op,
                   {"aten::add_", "aten::sub_", "aten::addcdiv_", "aten::_foreach_add_", "aten::_foreach_addcdiv_"});
}

/// Names that end like operators in place and do not write, or write for another reason than an update.
bool is_no_write(std::string_view op) {
  return is_one_of(op, {"aten::detach_", "detach_", "aten::requires_grad_", "aten::set_", "aten::embedding_renorm_"});
}

/// Sparse tensors have none that an alias could be told by: size has to do.
bool same_memory(const at::Tensor& a, const at::Tensor& b) {
  if (!a.has_storage() || !b.has_storage()) return a.layout() == b.layout() && a.sizes() == b.sizes();
  return storage_of(a) == storage_of(b) && a.storage_offset() == b.storage_offset() && a.numel() == b.numel();
}

bool in_common(const std::vector<bool>& a, const std::vector<bool>& b) {
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i)
    if (a[i] && b[i]) return true;
  return false;
}

bool any(const std::vector<bool>& flags) { return std::find(flags.begin(), flags.end(), true) != flags.end(); }

}  // namespace

UpdateWatch::UpdateWatch(const WatchedParameters& parameters, Tell tell)
    : parameters_(parameters), tell_(std::move(tell)) {}

void UpdateWatch::begin_step(std::shared_ptr<const StorageTable> table) {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  stopped_ = false;
  accumulated_ = false;
  table_ = std::move(table);
  // A model may have gained parameters.
  updated_.resize(parameters_.all().size());
  updated_before_.resize(parameters_.all().size());
  after_.clear();
  loss_.reset();
  was_expected_ = expected_ && !updated_early_;
  order_.stop();
  expected_ = told_change_ = changed_ = own_backward_ = other_updated_ = unknown_updated_ = false;
}

void UpdateWatch::follow_order() {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  if (was_expected_) order_.begin(parameters_.all());
}

std::vector<std::string> UpdateWatch::take_order_patterns() {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  return order_.take_patterns();
}

void UpdateWatch::stop() {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  order_.stop();
  stopped_ = true;
  expected_ = false;
}

std::optional<int> UpdateWatch::gradient_stage() const {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  if (!expected_) return std::nullopt;
  if (changed_) return 1;
  // Gradients that were put in their place, or written to where no operator was to be seen; of parameters that are
  // watched only since the backward pass, nothing is known.
  const std::vector<Gradient> now = gradients_now();
  for (std::size_t i = 0; i < after_.size(); ++i)
    if (now[i].version != after_[i].version || !same_gradient(now[i], after_[i])) return 1;
  return 0;
}

at::Tensor UpdateWatch::loss() const {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  return loss_;
}

bool UpdateWatch::update_expected() const {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  return expected_;
}

bool UpdateWatch::update_is_missing() const {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  return expected_ && (own_backward_ || !other_updated_);
}

bool UpdateWatch::updates_take_turns() const {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  return take_turns_;
}

/// zero_grad() puts a detached alias in a gradient's place. Of sparse ones only the version can tell.
bool UpdateWatch::same_gradient(const Gradient& a, const Gradient& b) {
  if (a.address == b.address) return true;
  return a.address && b.address && a.storage == b.storage;
}

std::vector<UpdateWatch::Gradient> UpdateWatch::gradients_now() const {
  std::vector<Gradient> now(parameters_.all().size());
  for (std::size_t i = 0; i < now.size(); ++i) {
    const at::Tensor& gradient = parameters_.all()[i].tensor.grad();
    if (!gradient.defined()) continue;
    now[i].tensor.emplace(gradient.getIntrusivePtr());
    now[i].address = gradient.unsafeGetTensorImpl();
    now[i].version = version_of(gradient);
    now[i].storage = storage_of(gradient);
  }
  return now;
}

std::uint64_t UpdateWatch::after_backward(const at::Tensor& root) {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  const std::uint64_t pass = ++pass_;
  if (stopped_) return pass;
  order_.backward_ended(parameters_.all());
  updated_early_ = false;
  std::vector<Gradient> now = gradients_now();
  if (expected_) tell_(Moment::kGradientsGrow);
  expected_ = true;
  told_change_ = other_updated_ = unknown_updated_ = false;
  loss_ = root;
  after_ = std::move(now);
  storages_.clear();
  for (const Gradient& gradient : after_)
    if (gradient.storage) storages_.insert(gradient.storage);
  if (std::none_of(after_.begin(), after_.end(), [](const Gradient& gradient) { return gradient.address; })) discard();
  return pass;
}

void UpdateWatch::backward_was_of_no_other() noexcept {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  own_backward_ = true;
}

bool UpdateWatch::before_operator(std::uint64_t pass) {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  if (stopped_ || !expected_ || pass != pass_) return false;
  // Every operator comes here: one parameter's gradient tells whether to look at all of them.
  for (std::size_t i = 0; i < after_.size(); ++i) {
    if (!after_[i].address) continue;
    if (!parameters_.all()[i].tensor.grad().defined()) note_dropped(gradients_now());
    break;
  }
  return expected_;
}

void UpdateWatch::note_dropped(const std::vector<Gradient>& now) {
  std::size_t left = 0;
  for (std::size_t i = 0; i < after_.size(); ++i) {
    if (!after_[i].address) continue;
    changed_ |= !same_gradient(now[i], after_[i]);
    left += now[i].address != nullptr;
  }
  if (left == 0) discard();
}

bool UpdateWatch::before_write(const char* op, const at::Tensor& target) {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  if (stopped_ || !target.defined() || is_no_write(op)) return false;
  if (const int parameter = table_->find(target); parameter >= 0) {
    // Differentiated on a thread that has shown nothing since.
    if (!expected_ && take_accumulation()) after_backward({});
    order_.parameter_written(parameters_.all());
    updated_early_ = true;
    if (expected_) note_update();
    if (!stopped_) updated_[static_cast<std::size_t>(parameter)] = true;
    return true;
  }
  if (!expected_) order_.other_written(parameters_.all(), op, target);
  if (!expected_) return false;
  if (is_gradient(target)) {
    if (!std::exchange(told_change_, true)) tell_(Moment::kGradientsChange);
    changed_ = true;
    if (is_one_of(op, {"aten::zero_", "aten::fill_"})) note_zeroed(target);
    return false;
  }
  unknown_updated_ |= may_be_an_update(op, target);
  return false;
}

bool UpdateWatch::is_gradient(const at::Tensor& tensor) const {
  const std::vector<WatchedParameter>& all = parameters_.all();
  if (tensor.has_storage()) {
    const void* storage = storage_of(tensor);
    // Of one that was dropped the address may belong to another tensor by now.
    return storages_.count(storage) > 0 && std::any_of(all.begin(), all.end(), [&](const WatchedParameter& parameter) {
             const at::Tensor& gradient = parameter.tensor.grad();
             return gradient.defined() && storage_of(gradient) == storage;
           });
  }
  return std::any_of(all.begin(), all.end(), [&](const WatchedParameter& parameter) {
    const at::Tensor& gradient = parameter.tensor.grad();
    return gradient.defined() && !gradient.has_storage() && same_memory(gradient, tensor);
  });
}

void UpdateWatch::note_update() {
  // `updated_` is what the previous update wrote, complete now.
  take_turns_ |= any(updated_) && any(updated_before_) && !in_common(updated_, updated_before_);
  updated_before_ = std::exchange(updated_, std::vector<bool>(updated_.size()));
  tell_(Moment::kUpdate);
}

void UpdateWatch::note_zeroed(const at::Tensor& target) {
  std::size_t left = 0;
  for (std::size_t i = 0; i < after_.size(); ++i) {
    if (!after_[i].address) continue;
    const at::Tensor& gradient = parameters_.all()[i].tensor.grad();
    // A slice that is zeroed, as of an embedding's padding, leaves the rest.
    if (gradient.defined() && same_memory(gradient, target)) after_[i].zeroed = true;
    left += !after_[i].zeroed && gradient.defined();
  }
  if (left == 0) discard();
}

void UpdateWatch::discard() {
  Moment moment = Moment::kUpdateSkipped;
  if (!own_backward_ && other_updated_)
    moment = Moment::kPassedThrough;
  else if (unknown_updated_ && !other_updated_)
    moment = Moment::kLikelyPassedThrough;
  tell_(moment);
  expected_ = told_change_ = changed_ = own_backward_ = other_updated_ = unknown_updated_ = false;
  loss_.reset();
}

void UpdateWatch::other_model_was_updated() noexcept {
  const std::lock_guard<std::recursive_mutex> lock(mutex_);
  other_updated_ = true;
}

void UpdateWatch::fail() noexcept {
  try {
    const std::lock_guard<std::recursive_mutex> lock(mutex_);
    if (!std::exchange(stopped_, true)) tell_(Moment::kFailed);
  } catch (...) {  // The listener catches its own.
  }
}

}  // namespace gradhealth::hooks
