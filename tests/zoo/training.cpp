#include "zoo/training.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <gradhealth/hooks.h>

#include "zoo/data.h"
#include "zoo/models.h"

namespace gradhealth::zoo {
namespace {

/// Hides the difference between the optimizers' options.
std::unique_ptr<torch::optim::Optimizer> make_optimizer(const Settings& settings, std::vector<torch::Tensor> of) {
  namespace optim = torch::optim;
  const double lr = settings.lr;
  const double decay = settings.weight_decay;
  if (settings.optimizer == "adam")
    return std::make_unique<optim::Adam>(of, optim::AdamOptions(lr).eps(settings.epsilon).weight_decay(decay));
  if (settings.optimizer == "adamw")
    return std::make_unique<optim::AdamW>(of, optim::AdamWOptions(lr).eps(settings.epsilon).weight_decay(decay));
  if (settings.optimizer == "rmsprop")
    return std::make_unique<optim::RMSprop>(of, optim::RMSpropOptions(lr).eps(settings.epsilon).weight_decay(decay));
  return std::make_unique<optim::SGD>(of, optim::SGDOptions(lr).momentum(settings.momentum).weight_decay(decay));
}

std::vector<torch::Tensor> optimized(Net& net, const Settings& settings) {
  std::vector<torch::Tensor> parameters = net.parameters();
  if (settings.optimized == "last") return {parameters.end() - 2, parameters.end()};
  if (settings.optimized == "stale") {
    for (torch::Tensor& parameter : parameters) parameter = parameter.detach().clone().requires_grad_();
    return parameters;
  }
  std::vector<torch::Tensor> trainable;
  for (const torch::Tensor& parameter : parameters)
    if (parameter.requires_grad()) trainable.push_back(parameter);
  return trainable;
}

torch::Tensor loss_of(const torch::Tensor& output, const torch::Tensor& target, const Settings& settings) {
  const auto reduction = settings.sum ? at::Reduction::Sum : at::Reduction::Mean;
  if (settings.loss == "cross_entropy")
    return torch::cross_entropy_loss(output, target, {}, reduction, -100, settings.label_smoothing);
  if (settings.loss == "nll") return torch::nll_loss(output, target, {}, reduction);
  if (settings.loss == "log_of_softmax")
    return -torch::log(torch::softmax(output, 1)).gather(1, target.unsqueeze(1)).mean();
  const torch::Tensor like =
      settings.matching_shapes ? target.to(output.dtype()).view_as(output) : target.to(output.dtype()).flatten();
  if (settings.loss == "mse") {
    if (settings.matching_shapes) return torch::mse_loss(output, like, reduction);
    return (output - like).pow(2).mean();
  }
  if (settings.loss == "bce") return torch::binary_cross_entropy(output, like, {}, reduction);
  if (settings.loss == "bce_with_logits")
    return torch::binary_cross_entropy_with_logits(output, like, {}, {}, reduction);
  throw std::runtime_error("there is no loss " + settings.loss);
}

double metric_of(Net& net, const Data& data, const Settings& settings) {
  for (const torch::Tensor& parameter : net.parameters())
    if (!torch::isfinite(parameter).all().item<bool>()) return 0;
  const torch::NoGradGuard no_grad;
  net.train(!settings.eval_mode);
  torch::Tensor x = data.test_x;
  if (settings.dtype != "float32") x = x.to(torch::kBFloat16);
  const torch::Tensor output = net.forward(x).to(torch::kFloat32);
  if (!torch::isfinite(output).all().item<bool>()) return 0;
  if (data.classes == 0) {
    const torch::Tensor y = data.test_y.view_as(output);
    const double left = (output - y).pow(2).mean().item<double>() / y.var().item<double>();
    return std::max(0.0, 1 - left);
  }
  torch::Tensor guess = output.argmax(1);
  if (output.size(1) == 1) guess = output.flatten().gt(settings.loss == "bce" ? 0.5 : 0.0).to(torch::kInt64);
  return guess.eq(data.test_y).to(torch::kFloat32).mean().item<double>();
}

class Trainer {
 public:
  Trainer(const Settings& settings, std::uint64_t seed, const std::filesystem::path& file)
      : settings_(settings),
        data_(prepare(make_data(settings.data, seed), settings)),
        net_((torch::manual_seed(seed), make_model(settings, data_))) {
    if (settings.dtype != "float32") net_->to(torch::kBFloat16);
    optimizer_ = make_optimizer(settings, optimized(*net_, settings));
    if (file.empty()) return;
    MonitorOptions options;
    options.messages = Messages::kNone;
    options.budget = 0;  // The schedule is a function of the step, not of the machine's mood.
    monitor_.emplace(*net_, *optimizer_, file, options);
    monitor_->on_finding([this](const Finding& finding) {
      if (!result_.told && finding.severity != Severity::kInfo) result_.told = step_;
    });
  }

  Result run() {
    net_->train(settings_.train_mode);
    for (step_ = 0; step_ < settings_.steps; ++step_) {
      set_rate();
      step();
      if (settings_.evaluate_every > 0 && (step_ + 1) % settings_.evaluate_every == 0) evaluate();
    }
    if (monitor_) {
      monitor_->close();
      result_.diagnosis = monitor_->diagnosis();
    }
    result_.metric = metric_of(*net_, data_, settings_);
    return result_;
  }

  PreflightReport look_before() {
    net_->train(settings_.train_mode);
    const torch::Tensor batch = next_batch();
    torch::Tensor x = data_.train_x.index_select(0, batch);
    if (settings_.dtype != "float32") x = x.to(torch::kBFloat16);
    return preflight(*net_, [&] { return loss_of(net_->forward(x), data_.train_y.index_select(0, batch), settings_); });
  }

 private:
  void set_rate() {
    const double warm = settings_.warm_up > 0
                            ? std::min(1.0, static_cast<double>(step_ + 1) / static_cast<double>(settings_.warm_up))
                            : 1;
    const double cosine =
        settings_.cosine
            ? 0.5 * (1 + std::cos(M_PI * static_cast<double>(step_) / static_cast<double>(settings_.steps)))
            : 1;
    const double decay = std::pow(settings_.decay, static_cast<double>(step_));
    for (auto& group : optimizer_->param_groups()) group.options().set_lr(settings_.lr * warm * cosine * decay);
  }

  torch::Tensor next_batch() {
    const std::int64_t samples = data_.train_x.size(0);
    const std::int64_t size = std::min(settings_.batch, samples);
    if (!order_.defined() || place_ + size > samples) {
      order_ = settings_.shuffled ? torch::randperm(samples) : torch::arange(samples);
      place_ = 0;
    }
    place_ += size;
    return order_.slice(0, place_ - size, place_);
  }

  torch::Tensor forward_and_backward() {
    const torch::Tensor batch = next_batch();
    torch::Tensor x = data_.train_x.index_select(0, batch);
    if (settings_.dtype != "float32") x = x.to(torch::kBFloat16);
    const torch::Tensor output = net_->forward(x);
    torch::Tensor loss = loss_of(output, data_.train_y.index_select(0, batch), settings_);
    if (settings_.output_reward > 0) loss = loss - settings_.output_reward * output.square().mean();
    const torch::Tensor minimized = settings_.loss_sign < 0 ? -loss : loss;
    if (minimized.requires_grad()) (minimized / static_cast<double>(settings_.accumulate)).backward();
    if (settings_.keeps_graphs) total_ = total_.defined() ? total_ + loss : loss;
    return minimized.detach();
  }

  void step() {
    if (settings_.zero_grad && settings_.order == "right") optimizer_->zero_grad();
    torch::Tensor loss;
    for (std::int64_t part = 0; part < settings_.accumulate; ++part) loss = forward_and_backward();
    if (settings_.order == "cleared") optimizer_->zero_grad();
    if (settings_.clip > 0 && monitor_) monitor_->clip_grad_norm(settings_.clip);
    if (settings_.clip > 0 && !monitor_) torch::nn::utils::clip_grad_norm_(net_->parameters(), settings_.clip);
    if (monitor_) monitor_->step(loss);
    if (settings_.optimizer == "ascent") return ascend();
    optimizer_->step();
  }

  /// Somebody's own update, with the wrong sign.
  void ascend() {
    const torch::NoGradGuard no_grad;
    for (torch::Tensor& parameter : net_->parameters())
      if (parameter.grad().defined()) parameter.add_(parameter.grad(), settings_.lr);
  }

  void evaluate() {
    const torch::NoGradGuard no_grad;
    if (settings_.eval_mode) net_->eval();
    torch::Tensor x = data_.test_x.slice(0, 0, 256);
    if (settings_.dtype != "float32") x = x.to(torch::kBFloat16);
    const torch::Tensor loss = loss_of(net_->forward(x), data_.test_y.slice(0, 0, 256), settings_);
    if (settings_.records_validation && monitor_) monitor_->record("val_loss", loss.item<double>());
    net_->train(settings_.train_mode);
  }

  Settings settings_;
  Data data_;
  std::shared_ptr<Net> net_;
  std::unique_ptr<torch::optim::Optimizer> optimizer_;
  std::optional<Monitor> monitor_;
  torch::Tensor order_;
  std::int64_t place_ = 0;
  torch::Tensor total_;
  std::int64_t step_ = 0;
  Result result_;
};

}  // namespace

PreflightReport look_before(const Settings& settings, std::uint64_t seed) {
  return Trainer(settings, seed, {}).look_before();
}

Result train(const Settings& settings, std::uint64_t seed, const std::filesystem::path& file) {
  return Trainer(settings, seed, file).run();
}

}  // namespace gradhealth::zoo
