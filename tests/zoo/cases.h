#pragma once

#include <functional>
#include <string>
#include <vector>

#include "zoo/settings.h"
#include "zoo/training.h"

namespace gradhealth::zoo {

/// How it is told beforehand whether a fault did harm in a training.
enum class Harm {
  kMetric,  ///< The metric ends below nine tenths of the healthy twin's.
  kAlways,  ///< What is lost is not in the metric: memory, parameters that are not trained, a misleading evaluation.
};

/// A training with something wrong, and the same without it.
struct Fault {
  std::string name;
  Settings healthy;
  std::function<void(Settings&)> spoil;
  std::vector<std::string> roots;  ///< Rules that name the cause; any of them may come first.
  std::vector<std::string> fixes;  ///< Recommendations that mend it.
  std::string module;              ///< Where it is; empty: anywhere.
  Harm harm = Harm::kMetric;
  bool quick = false;  ///< Part of the subset that every test run trains.
};

/// A training that is as it should be.
struct Healthy {
  std::string name;
  std::function<Result(std::uint64_t seed, const std::filesystem::path& file)> train;
  bool quick = false;
};

/// All faults: those of inputs and targets first.
const std::vector<Fault>& faults();
std::vector<Fault> data_faults();
const std::vector<Healthy>& healthy();

}  // namespace gradhealth::zoo
