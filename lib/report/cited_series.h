#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include <gradhealth/report.h>

namespace gradhealth {

/// The series that a finding's evidence is about.
struct CitedSeries {
  std::string title;  ///< "Gradient norm of fc1.weight".
  PlotSeries series;
  /// Where the evidence's number lies within the series, so that its threshold is one of the same thing; evidence is
  /// often a ratio of what is drawn.
  std::optional<double> threshold;
};

/// Of the first evidence whose quantity is drawn; nothing if there is none. @param columns at most so many.
std::optional<CitedSeries> cited_series(const Finding& finding, const Plots& plots, std::size_t columns);

}  // namespace gradhealth
