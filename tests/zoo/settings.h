#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

/// The zoo: real trainings, healthy and faulty, that the rules are measured on.
namespace gradhealth::zoo {

/// x → (x / scale − mean) / std, each feature or channel with its own numbers.
struct Normalization {
  double scale = 1;
  std::vector<double> mean;
  std::vector<double> std;
};

/// Everything that a fault breaks and a fix mends in one training.
struct Settings {
  // What the model is trained on.
  std::string data = "blobs";
  double input_scale = 1;  ///< What somebody forgot to undo, or does once more.
  double input_offset = 0;
  std::optional<Normalization> normalization;  ///< Applied to what the above gives.
  double eval_scale = 1;                       ///< The evaluation's input, against the training's.
  double target_scale = 1;
  double target_offset = 0;
  std::optional<Normalization> target_normalization;
  bool bad_value = false;        ///< One NaN among the inputs, in the data's first tenth.
  bool constant_input = false;   ///< The loader gives zeros.
  bool constant_target = false;  ///< The loader gives one class.
  bool shuffled = true;          ///< Otherwise sorted by target.
  std::int64_t samples = 0;      ///< Only the first so many; 0: all.

  // The model.
  std::string model = "mlp";  ///< "mlp", "cnn", "rnn", "encoder", "bag".
  std::vector<std::int64_t> hidden{50, 50};
  std::string activation = "relu";
  std::string norm;  ///< "batch", "layer" or none.
  bool residual = false;
  double dropout = 0;
  std::string init = "default";         ///< "default", "he", "glorot", "constant", "zero", "dead".
  double gain = 1;                      ///< Times the initialisation of the hidden layers' weights.
  std::map<std::string, double> gains;  ///< By parameter, further factors.
  /// What the model ends in: "softmax", "log_softmax", "log_softmax_of_samples", "sigmoid", "relu", …
  std::string head;
  bool frozen_first = false;
  bool detached = false;      ///< Somebody detaches the last hidden activation.
  bool unregistered = false;  ///< The second layer is a member that was not registered.
  std::string dtype = "float32";
  double norm_momentum = 0.1;

  // The loss.
  std::string loss = "cross_entropy";  ///< "cross_entropy", "nll", "log_of_softmax", "mse", "bce", "bce_with_logits".
  double loss_sign = 1;
  bool sum = false;
  double label_smoothing = 0;
  double output_reward = 0;     ///< Times the outputs' mean square, subtracted.
  bool matching_shapes = true;  ///< Otherwise [B, 1] against [B].

  // The optimizer.
  std::string optimizer = "sgd";  ///< "sgd", "adam", "adamw", "rmsprop".
  double lr = 0.05;
  double momentum = 0.9;
  double weight_decay = 0;
  double epsilon = 1e-8;
  double clip = 0;                ///< 0: no clipping.
  std::string optimized = "all";  ///< "all", "last" (layer only), "stale" (tensors that the model no longer has).
  std::int64_t warm_up = 0;       ///< Steps of a linear warm-up.
  bool cosine = false;
  double decay = 1;  ///< Of the learning rate, each step.

  // The loop.
  std::int64_t steps = 300;
  std::int64_t batch = 32;
  std::int64_t accumulate = 1;
  bool zero_grad = true;
  std::string order = "right";  ///< "cleared" (zero_grad between backward and step), "right".
  bool train_mode = true;
  bool eval_mode = true;      ///< Of the evaluation passes.
  bool keeps_graphs = false;  ///< `total += loss`.
  std::int64_t evaluate_every = 50;
  bool records_validation = false;
};

}  // namespace gradhealth::zoo
