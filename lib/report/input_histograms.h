#pragma once

#include <string>
#include <vector>

#include <gradhealth/report.h>

namespace gradhealth {

/// Features that a report shows one by one.
inline constexpr std::size_t kMostInputsShown = 16;

/// Takes in a row: the first histogram of each feature stays, the last one follows. Those that cannot be right (shares
/// that are negative or no numbers, or do not add up to 1) are left out, and that is noted.
void observe_histograms(const Run& run, const StepRecord& record, Plots& plots);

/// An HTML figure: bars for the first step and an outline for the last one on one axis, areas being shares; an axis
/// each where the values have gone elsewhere.
std::string histogram_figure(const InputHistograms& histograms);

/// "channel 0: step 0 from 0 to 255, 52 % of the values from 0 to 7.969; step 599 from …": for who cannot see it.
std::string histogram_text(const InputHistograms& histograms);

/// The first histogram of the first features for a terminal, a line each; those that are wider than `width` are left
/// out.
std::string histogram_lines(const std::vector<InputHistograms>& histograms, std::size_t width, Charset charset);

}  // namespace gradhealth
