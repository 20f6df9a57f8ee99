#include "zoo/fixes.h"

#include <algorithm>
#include <functional>
#include <map>
#include <stdexcept>

namespace gradhealth::zoo {
namespace {

using Fix = std::function<void(const Recommendation&, Settings&)>;

const std::vector<double>& all(const Recommendation& advice, const std::string& name) {
  for (const auto& [key, values] : advice.values)
    if (key == name) return values;
  throw std::runtime_error("the recommendation " + advice.id + " has no value " + name);
}

double value(const Recommendation& advice, const std::string& name) { return all(advice, name).at(0); }

bool has(const Recommendation& advice, const std::string& name) {
  return std::any_of(advice.values.begin(), advice.values.end(), [&](const auto& each) { return each.first == name; });
}

void set_rate(const Recommendation& advice, Settings& settings) {
  if (has(advice, "lr"))
    settings.lr = value(advice, "lr");
  else if (has(advice, "divisor"))
    settings.lr /= value(advice, "divisor");
  else if (has(advice, "factor"))
    settings.lr *= value(advice, "factor");
  else
    settings.lr = 0.01;  // The usual one, where there is no number to start from.
  if (settings.optimizer == "ascent") settings.optimizer = "sgd";
}

Normalization normalization(const Recommendation& advice) {
  return {has(advice, "scale") ? value(advice, "scale") : 1, all(advice, "mean"), all(advice, "std")};
}

void scale_init(const Recommendation& advice, Settings& settings) {
  for (const auto& [parameter, gain] : advice.values)
    if (parameter.find('.') != std::string::npos) settings.gains[parameter] = gain.at(0);
}

void mend_loader(const Recommendation&, Settings& settings) {
  settings.constant_input = false;
  settings.eval_scale = 1;
  settings.bad_value = false;
}

void use_logits(const Recommendation&, Settings& settings) {
  settings.head.clear();
  if (settings.loss == "bce") settings.loss = "bce_with_logits";
  if (settings.loss == "nll" || settings.loss == "log_of_softmax") settings.loss = "cross_entropy";
}

const std::map<std::string, Fix>& fixes() {
  static const std::map<std::string, Fix> all{
      {"add-norm-layer", [](auto&, Settings& s) { s.norm = s.model == "cnn" ? "batch" : "layer"; }},
      {"add-parameter-to-optimizer", [](auto&, Settings& s) { s.optimized = "all"; }},
      {"add-residual", [](auto&, Settings& s) { s.residual = true; }},
      {"add-weight-decay", [](const Recommendation& a, Settings& s) { s.weight_decay = value(a, "weight_decay"); }},
      {"bound-loss-terms", [](auto&, Settings& s) { s.output_reward = 0; }},
      {"check-input", mend_loader},
      {"check-loader", mend_loader},
      {"check-targets", [](auto&, Settings& s) { s.constant_target = false; }},
      {"clamp-before-exp", [](auto&, Settings& s) { s.activation = "relu"; }},
      {"clip-gradients", [](const Recommendation& a, Settings& s) { s.clip = value(a, "max_norm"); }},
      {"detach-loss", [](auto&, Settings& s) { s.keeps_graphs = false; }},
      {"drop-bad-samples", mend_loader},
      {"drop-nonfinite-samples", mend_loader},
      {"early-stop",
       [](const Recommendation& a, Settings& s) { s.steps = static_cast<std::int64_t>(value(a, "best_step")) + 1; }},
      {"eval-mode", [](auto&, Settings& s) { s.eval_mode = true; }},
      {"fix-loss-sign",
       [](auto&, Settings& s) {
         s.loss_sign = 1;
         if (s.optimizer == "ascent") s.optimizer = "sgd";
       }},
      {"glorot-init", [](auto&, Settings& s) { s.init = "glorot", s.gain = 1; }},
      {"guard-derivative", [](auto&, Settings& s) { s.activation = "relu"; }},
      {"he-init", [](auto&, Settings& s) { s.init = "he", s.gain = 1; }},
      {"keep-float-weights", [](auto&, Settings& s) { s.dtype = "float32"; }},
      {"keep-graph", [](auto&, Settings& s) { s.detached = false; }},
      {"larger-batch", [](auto&, Settings& s) { s.batch *= 8; }},
      {"lower-epsilon", [](const Recommendation& a, Settings& s) { s.epsilon = value(a, "eps"); }},
      {"lower-learning-rate", set_rate},
      {"lower-weight-decay", [](const Recommendation& a, Settings& s) { s.weight_decay = value(a, "weight_decay"); }},
      {"match-output-range", [](auto&, Settings& s) { s.head.clear(); }},
      {"match-target-shape", [](auto&, Settings& s) { s.matching_shapes = true; }},
      {"mean-reduction", [](auto&, Settings& s) { s.sum = false; }},
      {"normalize-evaluation", mend_loader},
      {"normalize-input", [](const Recommendation& a, Settings& s) { s.normalization = normalization(a); }},
      {"normalize-target", [](const Recommendation& a, Settings& s) { s.target_normalization = normalization(a); }},
      {"order-loop", [](auto&, Settings& s) { s.order = "right"; }},
      {"pass-logits", use_logits},
      {"raise-learning-rate", set_rate},
      {"raise-norm-momentum", [](const Recommendation& a, Settings& s) { s.norm_momentum = value(a, "momentum"); }},
      {"random-init", [](auto&, Settings& s) { s.init = "default"; }},
      {"rebuild-optimizer", [](auto&, Settings& s) { s.optimized = "all"; }},
      {"register-parameter", [](auto&, Settings& s) { s.unregistered = false; }},
      {"remove-normalization", [](const Recommendation& a, Settings& s) { s.input_scale *= value(a, "factor"); }},
      {"rescale-init", scale_init},
      {"rescale-target", [](const Recommendation& a, Settings& s) { s.target_normalization = normalization(a); }},
      {"scale-init", scale_init},
      {"shuffle-data", [](auto&, Settings& s) { s.shuffled = true; }},
      {"slow-schedule", [](auto&, Settings& s) { s.decay = 1; }},
      {"softmax-over-classes", use_logits},
      {"train-mode", [](auto&, Settings& s) { s.train_mode = true; }},
      {"unfreeze", [](auto&, Settings& s) { s.frozen_first = false; }},
      {"use-bce-with-logits", use_logits},
      {"use-cross-entropy", use_logits},
      {"use-leaky-relu", [](auto&, Settings& s) { s.activation = "leaky_relu"; }},
      {"use-log-softmax", [](auto&, Settings& s) { s.head = "log_softmax"; }},
      {"use-relu", [](auto&, Settings& s) { s.activation = "relu", s.init = "he", s.gain = 1; }},
      {"use-stable-loss", use_logits},
      {"warm-up", [](auto&, Settings& s) { s.warm_up = s.steps / 5; }},
      {"widen-layers",
       [](const Recommendation& a, Settings& s) {
         for (std::int64_t& width : s.hidden) width = static_cast<std::int64_t>(value(a, "width"));
       }},
      {"zero-grad", [](auto&, Settings& s) { s.zero_grad = true; }},
  };
  return all;
}

}  // namespace

bool apply(const Recommendation& advice, Settings& settings) {
  const auto found = fixes().find(advice.id);
  if (found == fixes().end()) return false;
  found->second(advice, settings);
  return true;
}

}  // namespace gradhealth::zoo
