#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "zoo/cases.h"

namespace gradhealth::zoo {

/// One case under one seed, and what became of it.
struct Row {
  std::string name;
  std::uint64_t seed = 0;
  bool faulty = false;
  std::string failure;  ///< The case itself could not be run.

  // Of every run.
  std::vector<std::string> roots;  ///< "rule" or "rule@module", most important first, with "(info)" behind where it is.
  int errors = 0;                  ///< Findings, consequences included.
  int warnings = 0;
  std::optional<std::int64_t> told;
  std::vector<std::string> told_live;  ///< Of a healthy run, warnings and errors that it was told while it trained.
  double seconds = 0;

  // Of faults.
  double twin = 0;  ///< The healthy twin's metric.
  double spoilt = 0;
  double fixed = 0;    ///< With the first recommendation of the first root applied.
  double placebo = 0;  ///< With a tenth of the learning rate and gradients clipped at 1 instead.
  bool harmful = false;
  bool detected = false;  ///< At least a warning.
  bool root_first = false;
  bool module_right = true;
  bool fix_right = false;  ///< One of the fixes that mend it is the first recommendation.
  bool trains = false;     ///< `fixed` is at least nine tenths of `twin`; for harm that no metric shows: it is gone.
  std::string advice;
};

/// Trains, diagnoses, and of a fault also its twin, the fix and the placebo.
Row examine(const Fault& fault, std::uint64_t seed, const std::filesystem::path& directory);
Row examine(const Healthy& healthy, std::uint64_t seed, const std::filesystem::path& directory);

std::string to_json(const Row& row);
/// @throws std::exception if it is none of ours.
Row from_json(const std::string& text);

}  // namespace gradhealth::zoo
