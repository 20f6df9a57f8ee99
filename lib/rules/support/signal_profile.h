#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include <gradhealth/run.h>

#include "rules/support/layers.h"

namespace gradhealth::rules {

/// How the size of the forward signal lies over depth at one step.
struct SignalProfile {
  std::size_t layers = 0;  ///< Hidden ones with a signal above 0.
  std::size_t first = 0;   ///< Activation of the first of them.
  std::size_t last = 0;    ///< Activation of the last of them.
  double first_rms = 0;
  double last_rms = 0;
  double growth = NAN;  ///< ln(last_rms / first_rms); NaN with fewer than two layers.
  /// Median over the layers of the logarithm of what one of them makes of it; likewise.
  double typical = NAN;

  /// Most layers take part in a growth (or shrinkage, if negative) at least as large as this one, not only one of them.
  bool is_geometric(double log_growth) const;
};

/// Over the layers' own outputs but the last one's, whose size is the task's business.
/// @param scratch grows to the number of layers once.
SignalProfile signal_profile(const StepRecord& record, const Layers& layers, std::vector<double>& scratch);

}  // namespace gradhealth::rules
