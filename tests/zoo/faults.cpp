#include "zoo/cases.h"

namespace gradhealth::zoo {
namespace {

Settings blobs() { return {}; }

Settings images(const std::string& model) {
  Settings settings;
  settings.data = "images";
  settings.model = model;
  settings.hidden = {64, 64};
  return settings;
}

Settings waves() {
  Settings settings;
  settings.data = "waves";
  settings.loss = "mse";
  settings.hidden = {64, 64};
  settings.lr = 0.02;
  settings.steps = 500;
  return settings;
}

Settings circles() {
  Settings settings;
  settings.data = "circles";
  settings.loss = "bce_with_logits";
  settings.hidden = {32, 32};
  return settings;
}

Settings sequences(const std::string& model) {
  Settings settings;
  settings.data = "sequences";
  settings.model = model;
  settings.hidden = {32};
  settings.optimizer = "adam";
  settings.lr = 3e-3;
  return settings;
}

/// Standardised as it has to be.
Settings units() {
  Settings settings = waves();
  settings.data = "units";
  settings.normalization = {1, {288, 101325, 0.6, 500}, {12, 900, 0.15, 300}};
  return settings;
}

Settings deep(std::size_t layers, std::int64_t width, const std::string& activation) {
  Settings settings;
  settings.hidden.assign(layers, width);
  settings.activation = activation;
  return settings;
}

Settings with(Settings settings, const std::function<void(Settings&)>& change) {
  change(settings);
  return settings;
}

}  // namespace

const std::vector<Fault>& faults() {
  using S = Settings;
  static const std::vector<Fault> all{
      // The input.
      {"raw-images-cnn",
       images("cnn"),
       [](S& s) { s.input_scale = 255; },
       {"unnormalized-input"},
       {"normalize-input"},
       "conv1",
       Harm::kMetric,
       true},
      {"raw-images-mlp",
       images("mlp"),
       [](S& s) { s.input_scale = 255; },
       {"unnormalized-input"},
       {"normalize-input"},
       "fc0"},
      {"raw-images-adam",
       with(images("cnn"), [](S& s) { s.optimizer = "adam", s.lr = 3e-3; }),
       [](S& s) { s.input_scale = 255; },
       {"unnormalized-input"},
       {"normalize-input"},
       "conv1"},
      {"raw-units",
       units(),
       [](S& s) { s.normalization.reset(); },
       {"unnormalized-input"},
       {"normalize-input"},
       "fc0",
       Harm::kMetric,
       true},
      {"huge-blobs", blobs(), [](S& s) { s.input_scale = 300; }, {"unnormalized-input"}, {"normalize-input"}, "fc0"},
      {"offset-blobs",
       with(blobs(), [](S& s) { s.lr = 0.1; }),
       [](S& s) { s.input_offset = 100; },
       {"unnormalized-input"},
       {"normalize-input"},
       "fc0"},
      {"raw-sequences-lstm",
       sequences("lstm"),
       [](S& s) { s.input_scale = 1000; },
       {"unnormalized-input"},
       {"normalize-input"},
       "lstm"},
      {"double-normalized",
       images("mlp"),
       [](S& s) { s.input_scale = 1 / 255.0; },
       {"double-normalized-input"},
       {"remove-normalization"},
       ""},
      {"nan-in-data",
       blobs(),
       [](S& s) { s.bad_value = true; },
       {"nonfinite-input"},
       {"drop-nonfinite-samples", "drop-bad-samples"},
       "",
       Harm::kMetric,
       true},
      {"constant-input", blobs(), [](S& s) { s.constant_input = true; }, {"constant-input"}, {"check-loader"}, ""},
      {"sorted-data",
       with(blobs(), [](S& s) { s.lr = 0.1; }),
       [](S& s) { s.shuffled = false; },
       {"ordered-batches"},
       {"shuffle-data"},
       ""},
      {"eval-input-mismatch",
       images("cnn"),
       [](S& s) { s.eval_scale = 255; },
       {"eval-input-mismatch"},
       {"normalize-evaluation"},
       ""},
      {"raw-targets",
       waves(),
       [](S& s) { s.target_scale = 300, s.target_offset = 1500; },
       {"unnormalized-target"},
       {"normalize-target"},
       ""},

      // The learning rate and the optimizer.
      {"high-lr-sgd",
       blobs(),
       [](S& s) { s.lr = 20; },
       {"diverging-loss", "update-too-large", "unstable-learning-rate"},
       {"lower-learning-rate"},
       "",
       Harm::kMetric,
       true},
      {"high-lr-adam",
       with(blobs(),
            [](S& s) {
              s.optimizer = "adam", s.lr = 1e-2, s.hidden = {64, 64, 64};
            }),
       [](S& s) { s.lr = 1; },
       {"diverging-loss", "update-too-large"},
       {"lower-learning-rate"},
       ""},
      {"high-lr-cnn",
       images("cnn"),
       [](S& s) { s.lr = 3; },
       {"diverging-loss", "update-too-large"},
       {"lower-learning-rate"},
       ""},
      {"high-lr-waves",
       waves(),
       [](S& s) { s.lr = 1; },
       {"diverging-loss", "update-too-large"},
       {"lower-learning-rate"},
       ""},
      {"high-lr-encoder",
       sequences("encoder"),
       [](S& s) { s.lr = 5; },
       {"diverging-loss", "update-too-large"},
       {"lower-learning-rate"},
       ""},
      {"high-lr-lstm",
       sequences("lstm"),
       [](S& s) { s.optimizer = "sgd", s.lr = 200, s.momentum = 0; },
       {"diverging-loss", "update-too-large"},
       {"lower-learning-rate"},
       ""},
      {"low-lr",
       blobs(),
       [](S& s) { s.lr = 1e-7; },
       {"update-too-small"},
       {"raise-learning-rate"},
       "",
       Harm::kMetric,
       true},
      {"low-lr-adam",
       with(images("mlp"), [](S& s) { s.optimizer = "adam", s.lr = 1e-3; }),
       [](S& s) { s.lr = 1e-9; },
       {"update-too-small"},
       {"raise-learning-rate"},
       ""},
      {"zero-lr", blobs(), [](S& s) { s.lr = 0; }, {"step-without-effect"}, {"raise-learning-rate"}, ""},
      {"stale-optimizer",
       blobs(),
       [](S& s) { s.optimized = "stale"; },
       {"parameter-not-optimized", "step-without-effect"},
       {"rebuild-optimizer"},
       "",
       Harm::kMetric,
       true},
      {"partial-optimizer",
       with(images("mlp"), [](S& s) { s.steps = 400; }),
       [](S& s) { s.optimized = "last"; },
       {"parameter-not-optimized", "step-without-effect"},
       {"rebuild-optimizer", "add-parameter-to-optimizer"},
       "",
       Harm::kAlways},
      {"high-epsilon",
       with(blobs(), [](S& s) { s.optimizer = "adam", s.lr = 1e-2; }),
       [](S& s) { s.epsilon = 1e4; },
       {"adam-epsilon-dominates", "update-too-small"},
       {"lower-epsilon", "raise-learning-rate"},
       ""},
      {"ascent", blobs(), [](S& s) { s.optimizer = "ascent"; }, {"ascending-step"}, {"fix-loss-sign"}, ""},
      {"negated-loss",
       blobs(),
       [](S& s) { s.loss_sign = -1; },
       {"negative-loss", "ascending-step"},
       {"fix-loss-sign"},
       ""},
      {"strong-decay",
       blobs(),
       [](S& s) { s.weight_decay = 1; },
       {"excessive-weight-decay", "collapsed-output"},
       {"lower-weight-decay"},
       ""},

      // Depth and initialisation.
      {"deep-sigmoid",
       with(deep(6, 32, "relu"), [](S& s) { s.lr = 0.02; }),
       [](S& s) { s.activation = "sigmoid"; },
       {"jacobian-growth", "vanishing-gradient"},
       {"use-relu", "add-norm-layer", "rescale-init"},
       "",
       Harm::kMetric,
       true},
      {"deep-sigmoid-images",
       with(images("mlp"), [](S& s) { s.hidden.assign(6, 64), s.init = "he", s.lr = 0.02; }),
       [](S& s) { s.activation = "sigmoid", s.init = "default"; },
       {"jacobian-growth", "vanishing-gradient"},
       {"use-relu", "add-norm-layer", "rescale-init"},
       ""},
      {"tiny-init",
       deep(6, 64, "tanh"),
       [](S& s) { s.init = "glorot", s.gain = 0.05; },
       {"poor-initialization", "jacobian-growth", "vanishing-activation", "vanishing-gradient"},
       {"glorot-init", "he-init", "scale-init", "rescale-init"},
       ""},
      {"huge-init",
       with(deep(6, 64, "relu"), [](S& s) { s.lr = 0.02; }),
       [](S& s) { s.init = "he", s.gain = 8; },
       {"poor-initialization", "jacobian-growth", "exploding-activation", "exploding-gradient"},
       {"he-init", "scale-init", "rescale-init"},
       ""},
      {"saturated-tanh",
       deep(3, 64, "tanh"),
       [](S& s) { s.init = "glorot", s.gain = 30; },
       {"poor-initialization", "saturated-activation"},
       {"glorot-init", "scale-init", "rescale-init"},
       ""},
      {"constant-init",
       blobs(),
       [](S& s) { s.init = "constant"; },
       {"symmetric-weight"},
       {"random-init"},
       "",
       Harm::kMetric,
       true},
      {"zero-init", blobs(), [](S& s) { s.init = "zero"; }, {"symmetric-weight", "zero-gradient"}, {"random-init"}, ""},
      {"dead-relu", blobs(), [](S& s) { s.init = "dead"; }, {"dead-units"}, {"he-init", "use-leaky-relu"}, "fc0"},
      {"deep-narrow",
       with(deep(8, 48, "relu"), [](S& s) { s.init = "he", s.lr = 0.01; }),
       [](S& s) { s.hidden.assign(8, 2); },
       {"deep-narrow-network", "jacobian-growth", "vanishing-gradient"},
       {"widen-layers", "add-residual"},
       ""},

      // The loss.
      {"double-softmax",
       images("mlp"),
       [](S& s) { s.head = "softmax"; },
       {"double-softmax"},
       {"pass-logits"},
       "",
       Harm::kMetric,
       true},
      {"double-softmax-blobs",
       with(blobs(), [](S& s) { s.lr = 0.02, s.momentum = 0; }),
       [](S& s) { s.head = "softmax"; },
       {"double-softmax"},
       {"pass-logits"},
       ""},
      {"softmax-over-one",
       circles(),
       [](S& s) { s.loss = "bce", s.head = "softmax"; },
       {"softmax-over-one-unit"},
       {"use-bce-with-logits"},
       "out"},
      {"nll-of-logits",
       blobs(),
       [](S& s) { s.loss = "nll"; },
       {"nll-without-log-softmax"},
       {"use-log-softmax", "use-cross-entropy"},
       ""},
      {"nll-of-softmax",
       with(images("mlp"), [](S& s) { s.lr = 0.02; }),
       [](S& s) { s.loss = "nll", s.head = "softmax"; },
       {"nll-without-log-softmax"},
       {"use-log-softmax", "use-cross-entropy"},
       "",
       Harm::kAlways},
      {"broadcast-target",
       waves(),
       [](S& s) { s.matching_shapes = false; },
       {"broadcast-target"},
       {"match-target-shape"},
       "",
       Harm::kMetric,
       true},
      {"log-of-softmax",
       with(blobs(), [](S& s) { s.gains["out.weight"] = 150, s.lr = 0.002; }),
       [](S& s) { s.loss = "log_of_softmax"; },
       {"nonfinite-loss", "nonfinite-activation", "nonfinite-gradient"},
       {"use-stable-loss", "use-log-softmax"},
       ""},
      {"double-sigmoid",
       circles(),
       [](S& s) { s.head = "sigmoid"; },
       {"output-range-mismatch"},
       {"pass-logits", "use-bce-with-logits"},
       "",
       Harm::kAlways},
      {"relu-output", waves(), [](S& s) { s.head = "relu"; }, {"output-range-mismatch"}, {"match-output-range"}, ""},
      {"tanh-output",
       waves(),
       [](S& s) { s.head = "tanh", s.target_scale = 2; },
       {"output-range-mismatch"},
       {"match-output-range"},
       "",
       Harm::kAlways},
      {"summed-loss",
       blobs(),
       [](S& s) { s.sum = true, s.lr = 1, s.batch = 256; },
       {"sum-reduced-loss", "diverging-loss", "update-too-large"},
       {"mean-reduction", "lower-learning-rate"},
       ""},

      // The loop and the model's wiring.
      {"no-zero-grad",
       blobs(),
       [](S& s) { s.zero_grad = false; },
       {"accumulating-gradient"},
       {"zero-grad"},
       "",
       Harm::kMetric,
       true},
      {"no-zero-grad-cnn",
       images("cnn"),
       [](S& s) { s.zero_grad = false; },
       {"accumulating-gradient"},
       {"zero-grad"},
       ""},
      {"cleared-before-step", blobs(), [](S& s) { s.order = "cleared"; }, {"loop-order"}, {"order-loop"}, ""},
      {"detached", images("mlp"), [](S& s) { s.detached = true; }, {"no-gradient"}, {"keep-graph"}, "", Harm::kAlways},
      {"unregistered",
       with(images("mlp"),
            [](S& s) {
              s.hidden = {64, 64};
            }),
       [](S& s) { s.unregistered = true; },
       {"unregistered-parameter"},
       {"register-parameter"},
       "",
       Harm::kAlways},
      {"growing-graph",
       blobs(),
       [](S& s) { s.keeps_graphs = true; },
       {"growing-graph"},
       {"detach-loss"},
       "",
       Harm::kAlways},
      {"evaluation-mode",
       with(images("cnn"), [](S& s) { s.norm = "batch", s.dropout = 0.2; }),
       [](S& s) { s.train_mode = false; },
       {"wrong-mode"},
       {"train-mode"},
       "",
       Harm::kAlways},
      {"train-mode-in-eval",
       with(images("cnn"), [](S& s) { s.norm = "batch"; }),
       [](S& s) { s.eval_mode = false; },
       {"train-mode-in-eval"},
       {"eval-mode"},
       "",
       Harm::kAlways},
      {"frozen-statistics",
       with(images("cnn"), [](S& s) { s.norm = "batch"; }),
       [](S& s) { s.norm_momentum = 1e-6; },
       {"batchnorm-statistics"},
       {"raise-norm-momentum", "reset-running-statistics"},
       "",
       Harm::kAlways},
      {"overfitting",
       with(images("mlp"), [](S& s) { s.records_validation = true, s.samples = 300, s.evaluate_every = 20; }),
       [](S& s) {
         s.steps = 1500, s.hidden = {256, 256};
       },
       {"overfitting"},
       {"early-stop", "add-weight-decay"},
       "",
       Harm::kAlways},

      // Numbers.
      {"bfloat16-weights",
       with(images("mlp"), [](S& s) { s.lr = 1e-3, s.steps = 600; }),
       [](S& s) { s.dtype = "bfloat16"; },
       {"update-lost-to-rounding"},
       {"keep-float-weights"},
       "",
       Harm::kAlways},
      {"exp-activation",
       deep(5, 32, "relu"),
       [](S& s) { s.activation = "exp"; },
       {"nonfinite-activation", "exploding-activation", "nonfinite-loss"},
       {"clamp-before-exp", "use-relu"},
       ""},
      {"sqrt-at-zero",
       deep(2, 32, "relu"),
       [](S& s) { s.activation = "sqrt"; },
       {"nonfinite-gradient"},
       {"guard-derivative"},
       ""},
  };
  return all;
}

}  // namespace gradhealth::zoo
