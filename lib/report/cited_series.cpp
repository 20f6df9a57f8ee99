#include "report/cited_series.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>

namespace gradhealth {
namespace {

const PlotSeries* series_of(Quantity quantity, const Plots& plots) {
  switch (quantity) {
    case Quantity::kLoss: return &plots.loss;
    case Quantity::kGlobalGradientNorm: return &plots.global_gradient_norm;
    case Quantity::kLearningRate: return &plots.learning_rate;
    case Quantity::kStepTime: return &plots.step_time;
    default: return nullptr;
  }
}

const PlotMatrix* matrix_of(Quantity quantity, const Plots& plots) {
  switch (quantity) {
    case Quantity::kGradientNorm: return &plots.gradient_norm;
    case Quantity::kUpdateRatio: return &plots.update_ratio;
    case Quantity::kWeightNorm: return &plots.weight_norm;
    case Quantity::kActivationRms: return &plots.activation_rms;
    case Quantity::kCumulativeGrowth: return &plots.cumulative_growth;
    default: return nullptr;
  }
}

PlotSeries row_of(const PlotMatrix& matrix, const std::string& subject) {
  PlotSeries series;
  const auto found = std::find(matrix.subjects.begin(), matrix.subjects.end(), subject);
  if (found == matrix.subjects.end()) return series;
  const auto row = static_cast<std::size_t>(found - matrix.subjects.begin());
  series.first_step = matrix.first_step;
  series.minimum = series.maximum = matrix.maximum[row];
  series.nonfinite = matrix.nonfinite[row];
  return series;
}

/// Neighbouring columns merged until there are few enough; no extreme is lost.
PlotSeries thinned(const PlotSeries& series, std::size_t columns) {
  const std::size_t count = series.first_step.size();
  const std::size_t every = (count + columns - 1) / columns;
  if (every < 2) return series;
  PlotSeries thin;
  for (std::size_t i = 0; i < count; i += every) {
    const std::size_t end = std::min(i + every, count);
    thin.first_step.push_back(series.first_step[i]);
    double low = series.minimum[i], high = series.maximum[i];
    std::uint32_t nonfinite = 0;
    for (std::size_t j = i; j < end; ++j) {
      low = std::fmin(low, series.minimum[j]);
      high = std::fmax(high, series.maximum[j]);
      nonfinite += series.nonfinite[j];
    }
    thin.minimum.push_back(low);
    thin.maximum.push_back(high);
    thin.nonfinite.push_back(nonfinite);
  }
  return thin;
}

bool holds(const PlotSeries& series, double value) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (std::size_t i = 0; i < series.minimum.size(); ++i) {
    low = std::fmin(low, series.minimum[i]);
    high = std::fmax(high, series.maximum[i]);
  }
  // Stored in single precision, cited in double.
  const double rounding = 1e-5 * std::abs(value);
  return std::isfinite(value) && value >= low - rounding && value <= high + rounding;
}

std::string title_of(Quantity quantity, const std::string& subject) {
  const bool activation = info(quantity).axis == Axis::kActivation;
  std::string title = (activation ? "activation " : "") + std::string(info(quantity).name);
  std::replace(title.begin(), title.end(), '_', ' ');
  title[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(title[0])));
  return subject.empty() ? title : title + " of " + subject;
}

}  // namespace

std::optional<CitedSeries> cited_series(const Finding& finding, const Plots& plots, std::size_t columns) {
  for (const Evidence& evidence : finding.evidence) {
    if (!evidence.quantity) continue;
    PlotSeries series;
    if (const PlotSeries* one = series_of(*evidence.quantity, plots)) series = *one;
    if (const PlotMatrix* matrix = matrix_of(*evidence.quantity, plots)) series = row_of(*matrix, evidence.subject);
    if (series.first_step.empty()) continue;
    CitedSeries cited;
    cited.title = title_of(*evidence.quantity, evidence.subject);
    if (holds(series, evidence.observed) && std::isfinite(evidence.threshold)) cited.threshold = evidence.threshold;
    cited.series = thinned(series, columns);
    return cited;
  }
  return std::nullopt;
}

}  // namespace gradhealth
