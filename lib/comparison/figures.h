#pragma once

#include <optional>
#include <string>
#include <vector>

#include <gradhealth/report.h>

namespace gradhealth::compared {

/// What a run came to, from its plots: of up to as many steps as they have columns, exactly; of more, from the middle
/// of each column's extremes.
struct Figures {
  std::optional<double> first_loss;  ///< Median of the first tenth, at least three.
  std::optional<double> final_loss;  ///< Median of the last tenth.
  double loss_deviation = 0;         ///< Robust standard deviation of the last tenth.
  std::optional<double> lowest_loss;
  std::optional<double> gradient_norm;  ///< Median of the global norm.
  std::optional<double> step_time;      ///< Median, in seconds.
  std::size_t timed_steps = 0;          ///< Columns that it is the median of.
};

Figures figures_of(const Plots& plots);

/// The same of one parameter's gradient norm; nothing if none was recorded.
std::optional<double> median_gradient_norm(const PlotMatrix& norms, const std::string& parameter);

}  // namespace gradhealth::compared
