#pragma once

#include <string>
#include <vector>

#include <gradhealth/comparison.h>

namespace gradhealth::compared {

/// Both losses over the steps, one over the other; empty if neither has values. Logarithmic where all are positive and
/// span two decades. A series is a band between the extremes of its columns, broken where nothing finite was recorded.
std::string loss_curves(const PlotSeries& before, const PlotSeries& after);

/// A row per parameter with a mark for each run on one logarithmic scale; empty if no norm is positive.
std::string gradient_flow(const std::vector<ComparedNumber>& norms);

}  // namespace gradhealth::compared
