#include "hooks/steps/loop_order.h"

#include <algorithm>
#include <utility>

#include <ATen/ATen.h>

namespace gradhealth::hooks {
namespace {

// An optimizer does nothing without gradients, so that cleared ones and an update that was left out look alike: a loss
// scaler leaves out several when it begins.
constexpr int kManySteps = 8;

const void* storage_of(const at::Tensor& tensor) {
  return tensor.has_storage() ? tensor.storage().unsafeGetStorageImpl() : nullptr;
}

bool is_one_of(std::string_view op, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), op) != names.end();
}

bool scales(std::string_view op) {
  return is_one_of(op, {"aten::mul_", "aten::div_", "aten::clamp_", "aten::clamp_min_", "aten::clamp_max_",
                        "aten::_foreach_mul_", "aten::_foreach_div_"});
}

}  // namespace

void LoopOrder::begin(const ParameterList& parameters) {
  watching_ = true;
  updated_ = changed_ = false;
  gradients_.assign(parameters.size(), Gradient{});
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const at::Tensor& gradient = parameters[i].tensor.grad();
    if (!gradient.defined()) continue;
    gradients_[i].tensor.emplace(gradient.getIntrusivePtr());
    gradients_[i].address = gradient.unsafeGetTensorImpl();
    gradients_[i].storage = storage_of(gradient);
    gradients_[i].numel = gradient.numel();
  }
}

bool LoopOrder::cleared(const ParameterList& parameters) const {
  bool any = false;
  for (std::size_t i = 0; i < std::min(parameters.size(), gradients_.size()); ++i) {
    if (!gradients_[i].address) continue;
    any = true;
    const at::Tensor& now = parameters[i].tensor.grad();
    const bool same = now.defined() && now.unsafeGetTensorImpl() == gradients_[i].address;
    if (same && !gradients_[i].zeroed) return false;
  }
  return any;
}

void LoopOrder::found(const char* pattern, bool& told) {
  if (!std::exchange(told, true)) patterns_.emplace_back(pattern);
}

void LoopOrder::parameter_written(const ParameterList& parameters) {
  if (!watching_) return;
  if (!updated_ && cleared(parameters)) found("cleared-before-update", told_cleared_);
  updated_ = true;
  changed_ = false;  // Part of an optimizer that writes to gradients as it goes.
  without_update_ = 0;
}

void LoopOrder::other_written(const ParameterList& parameters, std::string_view op, const at::Tensor& target) {
  if (!watching_) return;
  const void* storage = storage_of(target);
  if (!storage) return;
  for (std::size_t i = 0; i < std::min(parameters.size(), gradients_.size()); ++i) {
    Gradient& gradient = gradients_[i];
    if (gradient.storage != storage) continue;
    // A gradient that was dropped leaves its storage's address to whatever comes next.
    const at::Tensor& now = parameters[i].tensor.grad();
    if (!now.defined() || storage_of(now) != storage) continue;
    if (is_one_of(op, {"aten::zero_", "aten::fill_"}))
      gradient.zeroed |= target.numel() == gradient.numel;
    else
      changed_ |= updated_ && scales(op);
  }
}

void LoopOrder::backward_ended(const ParameterList& parameters) {
  if (!std::exchange(watching_, false)) return;
  if (changed_) found("changed-after-update", told_changed_);
  if (updated_ || !cleared(parameters)) return;
  if (++without_update_ >= kManySteps) found("cleared-before-update", told_cleared_);
}

std::vector<std::string> LoopOrder::take_patterns() { return std::exchange(patterns_, {}); }

}  // namespace gradhealth::hooks
