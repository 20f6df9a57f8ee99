#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <gradhealth/rules.h>

/// Advice on the optimizer and the training loop, as LibTorch code with this run's numbers.
namespace gradhealth::rules {

/// @param rate the run's own, if it was recorded; else the code multiplies what the optimizer has.
Recommendation raise_learning_rate(std::optional<double> rate, double factor, double confidence);

/// Gradients back to zero once for every update.
Recommendation zero_grad();

/// The optimizer built anew, from the final model, with the options that this run's had.
Recommendation rebuild_optimizer(const RunInfo& run, std::optional<double> rate);

/// The learning rate raised from almost nothing over the first steps.
Recommendation warm_up(double rate, std::int64_t steps);

/// Weights in single precision, computation in half.
Recommendation keep_float_weights(const std::string& dtype);

/// What the run can go back to.
/// @param last_healthy step whose state was last seen in order; absent if there was none.
Recommendation restart_from_checkpoint(std::optional<std::int64_t> last_healthy);

}  // namespace gradhealth::rules
