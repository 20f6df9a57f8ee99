#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <gradhealth/report.h>

#include "stats/decimate.h"

namespace gradhealth {
namespace {

constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

enum Series : std::size_t { kLossSeries, kNormSeries, kRateSeries, kTimeSeries };

/// A NaN alone is a missing value; it is a measured one only where the record says so.
void add(Decimator& columns, std::size_t series, double value, bool marked_nonfinite) {
  if (marked_nonfinite && !std::isinf(value)) columns.add_nonfinite(series);
  if (!std::isnan(value)) columns.add(series, value);
}

PlotSeries plot_series(const Decimator& columns, std::size_t series) {
  PlotSeries plot;
  const std::vector<Extremes>& values = columns.series(series);
  if (values.empty()) return plot;
  plot.first_step = columns.steps();
  for (std::size_t i = 0; i < plot.first_step.size(); ++i) {
    const Extremes column = i < values.size() ? values[i] : Extremes{};
    plot.minimum.push_back(column.minimum);
    plot.maximum.push_back(column.maximum);
    plot.nonfinite.push_back(column.nonfinite);
  }
  return plot;
}

}  // namespace

class PlotCollector::Impl {
 public:
  explicit Impl(std::size_t columns) : scalars(columns), parameters(columns) {}

  Decimator scalars;
  Decimator parameters;
  std::vector<std::string> names;
};

PlotCollector::PlotCollector(std::size_t columns) : impl_(std::make_unique<Impl>(columns)) {}
PlotCollector::~PlotCollector() = default;
PlotCollector::PlotCollector(PlotCollector&&) noexcept = default;
PlotCollector& PlotCollector::operator=(PlotCollector&&) noexcept = default;

void PlotCollector::observe(const Run& run, const StepRecord& record) {
  const std::vector<Subject>& parameters = run.of(Axis::kParameter);
  for (std::size_t i = impl_->names.size(); i < parameters.size(); ++i) impl_->names.push_back(parameters[i].name);

  impl_->parameters.begin_row(record.step);
  const std::size_t recorded = std::min(
      parameters.size(),
      std::max(record.values(Quantity::kGradientNorm).size(), record.values(Quantity::kGradientNonfinite).size()));
  bool any_nonfinite = false;
  for (std::size_t i = 0; i < recorded; ++i) {
    const bool nonfinite = record.at(Quantity::kGradientNonfinite, i) > 0;
    any_nonfinite = any_nonfinite || nonfinite;
    add(impl_->parameters, i, record.at(Quantity::kGradientNorm, i), nonfinite);
  }

  impl_->scalars.begin_row(record.step);
  add(impl_->scalars, kLossSeries, record.at(Quantity::kLoss), record.at(Quantity::kLossNonfinite) > 0);
  // The global norm has no count of its own: it is not finite when a part of it is not.
  add(impl_->scalars, kNormSeries, record.at(Quantity::kGlobalGradientNorm), any_nonfinite);
  add(impl_->scalars, kRateSeries, record.at(Quantity::kLearningRate), false);
  add(impl_->scalars, kTimeSeries, record.at(Quantity::kStepTime), false);
}

Plots PlotCollector::plots() const {
  Plots plots;
  plots.loss = plot_series(impl_->scalars, kLossSeries);
  plots.global_gradient_norm = plot_series(impl_->scalars, kNormSeries);
  plots.learning_rate = plot_series(impl_->scalars, kRateSeries);
  plots.step_time = plot_series(impl_->scalars, kTimeSeries);
  PlotMatrix& matrix = plots.gradient_norm;
  matrix.subjects = impl_->names;
  matrix.first_step = impl_->parameters.steps();
  for (std::size_t subject = 0; subject < matrix.subjects.size(); ++subject) {
    const std::vector<Extremes>& values = impl_->parameters.series(subject);
    matrix.maximum.emplace_back(matrix.first_step.size(), kNothing);
    matrix.nonfinite.emplace_back(matrix.first_step.size(), 0u);
    for (std::size_t i = 0; i < values.size(); ++i) {
      matrix.maximum.back()[i] = values[i].maximum;
      matrix.nonfinite.back()[i] = values[i].nonfinite;
    }
  }
  return plots;
}

}  // namespace gradhealth
