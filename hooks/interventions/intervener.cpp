#include "hooks/interventions/intervener.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "hooks/interventions/gradient_sizes.h"

namespace gradhealth::hooks {

Intervener::Intervener(const Interventions& wanted, const NamedTensors& buffers) : wanted_(wanted) {
  for (const auto& [name, tensor] : buffers)
    if (tensor.defined()) buffers_.push_back(tensor);
  if (wanted_.clip_percentile > 0) learned_.emplace(wanted_.clip_percentile);
}

bool Intervener::keeps(std::int64_t step) const {
  return wanted_.keep_healthy_every > 0 && (!kept_ || step - *kept_ >= wanted_.keep_healthy_every);
}

std::optional<Intervener::Clipping> Intervener::begin_step(std::int64_t step,
                                                           const std::vector<at::Tensor>& parameters) {
  norm_.reset();
  if (!learned_ && !keeps(step)) return std::nullopt;
  norm_ = global_gradient_norm(parameters);
  const std::optional<double> threshold = learned_ ? learned_->value() : std::nullopt;
  if (!norm_ || !threshold || !std::isfinite(*norm_) || !(*norm_ > *threshold)) return std::nullopt;
  return Clipping{*norm_, *threshold};
}

void Intervener::end_step(std::int64_t step, const at::Tensor& loss, const std::vector<at::Tensor>& parameters,
                          const torch::optim::Optimizer* optimizer, const std::vector<Finding>& errors) {
  if (wanted_.keep_healthy_every == 0 && !learned_) return;
  const at::NoGradGuard no_grad;
  const double value = loss_value(loss);
  const bool outlier = loss_watch_.suspicious(value);
  if (!norm_ || !std::isfinite(*norm_) || found_error(errors)) return;
  if (learned_) learned_->learn(*norm_);
  if (!keeps(step) || outlier || !std::isfinite(value)) return;
  std::vector<at::Tensor> tensors = parameters;
  tensors.insert(tensors.end(), buffers_.begin(), buffers_.end());
  states_.keep(step, tensors, optimizer);
  kept_ = step;
}

std::optional<Finding> Intervener::to_throw(const std::vector<Finding>& errors) {
  if (!wanted_.stop || errors.size() <= thrown_) return std::nullopt;
  const Finding& first = errors[thrown_];
  thrown_ = errors.size();
  return first;
}

std::optional<std::int64_t> Intervener::roll_back(const std::vector<Finding>& errors,
                                                  torch::optim::Optimizer* optimizer) {
  std::int64_t onset = std::numeric_limits<std::int64_t>::max();
  for (std::size_t i = forgiven_; i < errors.size(); ++i) onset = std::min(onset, errors[i].first_step);
  const std::optional<std::int64_t> step = states_.restore(onset, optimizer);
  if (step) thrown_ = forgiven_ = errors.size();
  return step;
}

}  // namespace gradhealth::hooks
