#pragma once

#include <optional>
#include <string>
#include <vector>

#include <gradhealth/rules.h>

/// Advice that several rules give, as LibTorch code with this run's numbers.
namespace gradhealth::rules {

/// @param healthy_p95 95th percentile of the global gradient norm over healthy steps; without it,
///        `guess` is used, the confidence is below 0.5 and the text says so.
Recommendation clip_gradients(std::optional<double> healthy_p95, double guess);

/// @param rate the run's own, if it was recorded; else the code divides what the optimizer has.
Recommendation lower_learning_rate(std::optional<double> rate, double divisor, double confidence);

/// Weight decay on weights only: not on biases, norm scales, embeddings.
/// @param decay computed from what the run measured; without it the usual size is a guess, and said to be one.
Recommendation add_weight_decay(const std::string& optimizer, std::optional<double> rate,
                                std::optional<double> momentum, std::optional<double> decay = std::nullopt);

/// A loader that takes samples in random order. @param batch its samples.
Recommendation shuffle_data(double batch);

/// He initialisation of these weights.
Recommendation he_init(const std::vector<std::string>& weights);

/// Instead of a function that flattens out, as operators name it: "sigmoid".
Recommendation use_relu(const std::string& function);

/// A norm layer behind a module, chosen by its operator.
Recommendation add_norm_layer(const std::string& module, const std::string& kind, std::int64_t units);

}  // namespace gradhealth::rules
