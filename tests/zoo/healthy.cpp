#include "zoo/cases.h"
#include "zoo/other_trainings.h"

namespace gradhealth::zoo {
namespace {

Healthy supervised(const std::string& name, const std::function<void(Settings&)>& change, bool quick = false) {
  Settings settings;
  change(settings);
  return {name,
          [settings](std::uint64_t seed, const std::filesystem::path& file) { return train(settings, seed, file); },
          quick};
}

void regression(Settings& s) { s.data = "waves", s.loss = "mse", s.hidden = {64, 64}, s.lr = 0.02, s.steps = 500; }
void images(Settings& s) { s.data = "images", s.model = "cnn"; }
void sequences(Settings& s) { s.data = "sequences", s.hidden = {32}, s.optimizer = "adam", s.lr = 3e-3; }

}  // namespace

const std::vector<Healthy>& healthy() {
  using S = Settings;
  static const std::vector<Healthy> all{
      supervised(
          "blobs-adam", [](S& s) { s.optimizer = "adam", s.lr = 1e-3; }, true),
      supervised(
          "blobs-sgd", [](S&) {}, true),
      supervised("blobs-he", [](S& s) { s.init = "he"; }),
      supervised("blobs-small-batches", [](S& s) { s.batch = 4, s.lr = 0.01; }),
      supervised("blobs-full-batch", [](S& s) { s.batch = 2000, s.steps = 200; }),
      supervised("blobs-thirty-steps", [](S& s) { s.steps = 30; }),
      supervised("blobs-high-lr", [](S& s) { s.lr = 0.12; }),
      supervised("blobs-rmsprop", [](S& s) { s.optimizer = "rmsprop", s.lr = 1e-3; }),
      supervised("blobs-adamw-decay", [](S& s) { s.optimizer = "adamw", s.lr = 3e-3, s.weight_decay = 0.05; }),
      supervised("blobs-dropout", [](S& s) { s.dropout = 0.3; }),
      supervised("blobs-clipping", [](S& s) { s.clip = 1; }),
      supervised(
          "blobs-accumulation", [](S& s) { s.accumulate = 4, s.batch = 16; }, true),
      supervised("blobs-warm-up-cosine", [](S& s) { s.warm_up = 50, s.cosine = true, s.lr = 0.1; }),
      supervised("blobs-exponential-decay", [](S& s) { s.decay = 0.98, s.lr = 0.1; }),
      supervised("blobs-label-smoothing", [](S& s) { s.label_smoothing = 0.1; }),
      supervised("blobs-frozen-first", [](S& s) { s.frozen_first = true; }),
      supervised("blobs-summed-loss", [](S& s) { s.sum = true, s.lr = 0.002; }),
      supervised("blobs-nll", [](S& s) { s.loss = "nll", s.head = "log_softmax"; }),
      supervised("batch-norm-12x64", [](S& s) { s.hidden.assign(12, 64), s.norm = "batch"; }),
      supervised("layer-norm-6x64", [](S& s) { s.hidden.assign(6, 64), s.norm = "layer"; }),
      supervised("residual-20x64",
                 [](S& s) { s.hidden.assign(20, 64), s.norm = "layer", s.residual = true, s.lr = 0.02; }),
      supervised(
          "tanh-4x32", [](S& s) { s.hidden.assign(4, 32), s.activation = "tanh"; }, true),
      supervised("sigmoid-1x64", [](S& s) { s.hidden = {64}, s.activation = "sigmoid", s.lr = 0.2; }),
      supervised("gelu-3x64", [](S& s) { s.hidden.assign(3, 64), s.activation = "gelu"; }),
      supervised("leaky-5x64-he",
                 [](S& s) { s.hidden.assign(5, 64), s.activation = "leaky_relu", s.init = "he", s.lr = 0.02; }),
      supervised("relu-5x256-default", [](S& s) { s.hidden.assign(5, 256), s.steps = 150; }),
      supervised("linear-model", [](S& s) { s.hidden = {}; }),
      supervised("interpolation-3x512", [](S& s) { s.hidden.assign(3, 512), s.samples = 200, s.steps = 200; }),
      supervised(
          "circles-bce",
          [](S& s) {
            s.data = "circles", s.loss = "bce_with_logits", s.hidden = {32, 32};
          },
          true),
      supervised("circles-sigmoid-bce",
                 [](S& s) {
                   s.data = "circles", s.loss = "bce", s.head = "sigmoid", s.hidden = {32, 32};
                 }),
      supervised("circles-cross-entropy",
                 [](S& s) {
                   s.data = "circles", s.hidden = {32, 32};
                 }),
      supervised("regression-sgd", regression, true),
      supervised("regression-adam", [](S& s) { regression(s), s.optimizer = "adam", s.lr = 3e-3; }),
      supervised("regression-long", [](S& s) { regression(s), s.steps = 2000, s.cosine = true; }),
      supervised("regression-to-zero", [](S& s) { regression(s), s.samples = 512, s.batch = 64, s.steps = 1500; }),
      supervised("regression-units",
                 [](S& s) {
                   regression(s), s.data = "units";
                   s.normalization = {1, {288, 101325, 0.6, 500}, {12, 900, 0.15, 300}};
                 }),
      supervised("images-cnn", images, true),
      supervised("images-cnn-adam", [](S& s) { images(s), s.optimizer = "adam", s.lr = 1e-3; }),
      supervised("images-cnn-batch-norm", [](S& s) { images(s), s.norm = "batch"; }),
      supervised(
          "images-cnn-batch-norm-sampled", [](S& s) { images(s), s.norm = "batch", s.batch = 64; }, true),
      supervised("images-cnn-dropout", [](S& s) { images(s), s.dropout = 0.25; }),
      supervised("images-cnn-standardised",
                 [](S& s) {
                   images(s), s.normalization = {1, {0.2856}, {0.353}};
                 }),
      supervised("images-mlp-2x256",
                 [](S& s) {
                   s.data = "images", s.hidden = {256, 256};
                 }),
      supervised("images-cnn-validated", [](S& s) { images(s), s.records_validation = true, s.evaluate_every = 20; }),
      supervised(
          "sequences-lstm", [](S& s) { sequences(s), s.model = "lstm"; }, true),
      supervised("sequences-gru", [](S& s) { sequences(s), s.model = "gru"; }),
      supervised("sequences-encoder", [](S& s) { sequences(s), s.model = "encoder", s.dropout = 0.1; }),
      supervised("sequences-encoder-warm-up",
                 [](S& s) { sequences(s), s.model = "encoder", s.warm_up = 60, s.cosine = true; }),
      supervised("documents-sparse-embedding",
                 [](S& s) { s.data = "documents", s.model = "bag", s.hidden = {32}, s.lr = 0.5, s.momentum = 0; }),
      {"language-lstm", language_lstm},
      {"language-transformer-tied", language_transformer},
      {"gan", gan, true},
      {"vae-summed", vae},
      {"actor-critic", actor_critic},
      {"loss-scaler", loss_scaler},
      {"zero-init-residual", zero_init_residual},
      {"low-rank-adapter", low_rank_adapter},
      {"fine-tuning-frozen-norm", fine_tuning},
      {"autoencoder", autoencoder},
      {"manual-updates", manual_updates},
      {"contrastive", contrastive, true},
      {"diffusion", diffusion},
      {"flow", flow},
      {"noisy-label-gan", noisy_label_gan},
      {"physics", physics},
      {"value-learning", value_learning},
      {"wasserstein", wasserstein},
  };
  return all;
}

}  // namespace gradhealth::zoo
