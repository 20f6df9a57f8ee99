#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "demo_data.h"

namespace demo {

/// What a recommendation to normalise says, as numbers: x → (x / scale − mean) / std.
struct Normalisation {
  double scale = 1;
  double mean = 0;
  double std = 1;
};

struct Settings {
  double learning_rate = 0.05;
  double momentum = 0.9;
  double weight_decay = 0;
  double clip_norm = 0;  ///< 0: no clipping.
  std::int64_t batch_size = 64;
  std::int64_t steps = 600;
  std::int64_t decay_step = 0;  ///< The learning rate is divided by 10 here; 0: never.
  std::uint64_t seed = 1;
  std::optional<Normalisation> normalisation;
};

struct CurvePoint {
  std::int64_t step;
  double loss;      ///< Mean over the steps since the last point.
  double accuracy;  ///< On test images.
};

/// Trains two convolutions and two linear layers on `train`, monitored into `run_file` (not monitored if empty).
/// @param progress sees every point of the curve as it is made.
/// @return the curve; its last point is measured on all of `test`, the others on a tenth.
std::vector<CurvePoint> train(const Images& train, const Images& test, const Settings& settings,
                              const std::filesystem::path& run_file,
                              const std::function<void(const CurvePoint&)>& progress);

}  // namespace demo
