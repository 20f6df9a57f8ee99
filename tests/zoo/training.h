#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include <gradhealth/diagnosis.h>
#include <gradhealth/hooks_preflight.h>

#include "zoo/settings.h"

namespace gradhealth::zoo {

struct Result {
  /// Accuracy, or for regression the share of the variance that is explained, on the test set; 0 if weights are not
  /// finite.
  double metric = 0;
  Diagnosis diagnosis;
  /// Step at which the monitor first told of a warning or an error, during the training.
  std::optional<std::int64_t> told;
};

/// Trains as the settings say, with a monitor at its default settings. The same seed gives the same training.
/// @param file of the run; empty: not monitored.
Result train(const Settings& settings, std::uint64_t seed, const std::filesystem::path& file);

/// What a preflight says of the training's first batch.
PreflightReport look_before(const Settings& settings, std::uint64_t seed);

}  // namespace gradhealth::zoo
