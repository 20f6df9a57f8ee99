#include "comparison/figures.h"

#include <algorithm>
#include <cmath>

#include "stats/robust.h"

namespace gradhealth::compared {
namespace {

/// Finite columns of a series, each the middle of its extremes.
std::vector<double> values_of(const PlotSeries& series) {
  std::vector<double> values;
  for (std::size_t i = 0; i < series.minimum.size(); ++i) {
    const double middle = series.minimum[i] / 2 + series.maximum[i] / 2;
    if (std::isfinite(middle)) values.push_back(middle);
  }
  return values;
}

std::optional<double> median(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  return stats::median_in_place(values.data(), values.size());
}

double deviation(std::vector<double> values, double center) {
  for (double& value : values) value = std::abs(value - center);
  return stats::kMadToSigma * median(std::move(values)).value_or(0);
}

/// A tenth of the columns, and no fewer than three where there are that many.
std::size_t tenth(std::size_t count) { return std::min(count, std::max<std::size_t>(3, count / 10)); }

/// Whether the last columns that hold anything hold numbers: a run that ends in NaN has no final loss.
bool ends_finite(const PlotSeries& series) { return series.nonfinite.empty() || series.nonfinite.back() == 0; }

}  // namespace

Figures figures_of(const Plots& plots) {
  Figures figures;
  const std::vector<double> losses = values_of(plots.loss);
  if (!losses.empty()) {
    const auto part = static_cast<std::ptrdiff_t>(tenth(losses.size()));
    figures.first_loss = median({losses.begin(), losses.begin() + part});
    figures.lowest_loss = *std::min_element(losses.begin(), losses.end());
    if (ends_finite(plots.loss)) {
      const std::vector<double> last(losses.end() - part, losses.end());
      figures.final_loss = median(last);
      figures.loss_deviation = deviation(last, *figures.final_loss);
    }
  }
  figures.gradient_norm = median(values_of(plots.global_gradient_norm));
  const std::vector<double> times = values_of(plots.step_time);
  figures.step_time = median(times);
  figures.timed_steps = times.size();
  return figures;
}

std::optional<double> median_gradient_norm(const PlotMatrix& norms, const std::string& parameter) {
  const auto found = std::find(norms.subjects.begin(), norms.subjects.end(), parameter);
  if (found == norms.subjects.end()) return std::nullopt;
  std::vector<double> values;
  for (const double value : norms.maximum[static_cast<std::size_t>(found - norms.subjects.begin())])
    if (std::isfinite(value)) values.push_back(value);
  return median(std::move(values));
}

}  // namespace gradhealth::compared
