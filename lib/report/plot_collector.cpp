#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include <gradhealth/report.h>

#include "report/input_histograms.h"
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
  const std::vector<Extremes> values = columns.series(series);
  if (values.empty()) return plot;
  plot.first_step = columns.steps();
  for (std::size_t i = 0; i < plot.first_step.size(); ++i) {
    plot.minimum.push_back(values[i].minimum);
    plot.maximum.push_back(values[i].maximum);
    plot.nonfinite.push_back(values[i].nonfinite);
  }
  return plot;
}

/// One of the matrices: what is recorded, and what counts its non-finite elements.
struct MatrixInfo {
  Quantity quantity;
  std::optional<Quantity> nonfinite;
  PlotMatrix Plots::*place;
};
const MatrixInfo kMatrices[] = {
    {Quantity::kGradientNorm, Quantity::kGradientNonfinite, &Plots::gradient_norm},
    {Quantity::kUpdateRatio, std::nullopt, &Plots::update_ratio},
    {Quantity::kWeightNorm, Quantity::kWeightNonfinite, &Plots::weight_norm},
    {Quantity::kActivationRms, Quantity::kActivationNonfinite, &Plots::activation_rms},
    {Quantity::kCumulativeGrowth, std::nullopt, &Plots::cumulative_growth},
};

void add_row(const MatrixInfo& matrix, const StepRecord& record, Decimator& columns) {
  columns.begin_row(record.step);
  std::size_t recorded = record.values(matrix.quantity).size();
  if (matrix.nonfinite) recorded = std::max(recorded, record.values(*matrix.nonfinite).size());
  for (std::size_t i = 0; i < recorded; ++i)
    add(columns, i, record.at(matrix.quantity, i), matrix.nonfinite && record.at(*matrix.nonfinite, i) > 0);
}

PlotMatrix plot_matrix(const Decimator& columns, std::vector<std::string> subjects) {
  PlotMatrix matrix;
  bool any = false;
  matrix.first_step = columns.steps();
  for (std::size_t subject = 0; subject < subjects.size(); ++subject) {
    const std::vector<Extremes> values = columns.series(subject);
    any = any || !values.empty();
    matrix.maximum.emplace_back(matrix.first_step.size(), kNothing);
    matrix.nonfinite.emplace_back(matrix.first_step.size(), 0u);
    for (std::size_t i = 0; i < values.size(); ++i) {
      matrix.maximum.back()[i] = values[i].maximum;
      matrix.nonfinite.back()[i] = values[i].nonfinite;
    }
  }
  matrix.subjects = std::move(subjects);
  return any ? matrix : PlotMatrix{};
}

void widen(InputRange& input, const StepRecord& record, std::size_t feature) {
  input.minimum = std::fmin(input.minimum, record.at(Quantity::kInputMin, feature));
  input.maximum = std::fmax(input.maximum, record.at(Quantity::kInputMax, feature));
  if (!std::isnan(input.mean)) return;
  input.mean = record.at(Quantity::kInputMean, feature);
  input.deviation = record.at(Quantity::kInputStd, feature);
}

}  // namespace

class PlotCollector::Impl {
 public:
  Impl(std::size_t columns, PlotDetail detail) : scalars(columns) {
    if (detail == PlotDetail::kSeries) return;
    for (const MatrixInfo& matrix : kMatrices)
      matrices.emplace_back(matrix.place == &Plots::gradient_norm ? columns : std::max<std::size_t>(2, columns / 4));
  }

  void observe_matrices(const Run& run, const StepRecord& record) {
    for (const Axis axis : {Axis::kParameter, Axis::kActivation}) {
      std::vector<std::string>& known = names[static_cast<std::size_t>(axis)];
      const std::vector<Subject>& subjects = run.of(axis);
      for (std::size_t i = known.size(); i < subjects.size(); ++i) known.push_back(subjects[i].name);
    }
    const std::vector<Subject>& features = run.of(Axis::kFeature);
    for (std::size_t i = inputs.size(); i < features.size(); ++i)
      inputs.push_back({features[i].name, kNothing, kNothing, kNothing, kNothing});
    for (std::size_t i = 0; i < inputs.size(); ++i) widen(inputs[i], record, i);
    for (std::size_t i = 0; i < matrices.size(); ++i) add_row(kMatrices[i], record, matrices[i]);
  }

  Decimator scalars;
  std::vector<Decimator> matrices;  ///< As kMatrices, or none.
  std::array<std::vector<std::string>, kAxisCount> names;
  std::vector<InputRange> inputs;
  Plots histograms;  ///< Nothing else of it.
};

PlotCollector::PlotCollector(std::size_t columns, PlotDetail detail) : impl_(std::make_unique<Impl>(columns, detail)) {}
PlotCollector::~PlotCollector() = default;
PlotCollector::PlotCollector(PlotCollector&&) noexcept = default;
PlotCollector& PlotCollector::operator=(PlotCollector&&) noexcept = default;

void PlotCollector::observe(const Run& run, const StepRecord& record) {
  if (!impl_->matrices.empty()) impl_->observe_matrices(run, record);
  observe_histograms(run, record, impl_->histograms);

  impl_->scalars.begin_row(record.step);
  add(impl_->scalars, kLossSeries, record.at(Quantity::kLoss), record.at(Quantity::kLossNonfinite) > 0);
  // The global norm has no count of its own: it is not finite when a part of it is not.
  const std::vector<double>& counts = record.values(Quantity::kGradientNonfinite);
  const bool any_nonfinite = std::any_of(counts.begin(), counts.end(), [](double count) { return count > 0; });
  add(impl_->scalars, kNormSeries, record.at(Quantity::kGlobalGradientNorm), any_nonfinite);
  add(impl_->scalars, kRateSeries, record.at(Quantity::kLearningRate), false);
  add(impl_->scalars, kTimeSeries, record.at(Quantity::kStepTime), false);
}

Plots PlotCollector::plots() const {
  Plots plots = impl_->histograms;
  plots.loss = plot_series(impl_->scalars, kLossSeries);
  plots.global_gradient_norm = plot_series(impl_->scalars, kNormSeries);
  plots.learning_rate = plot_series(impl_->scalars, kRateSeries);
  plots.step_time = plot_series(impl_->scalars, kTimeSeries);
  for (std::size_t i = 0; i < impl_->matrices.size(); ++i) {
    const Axis axis = info(kMatrices[i].quantity).axis;
    plots.*kMatrices[i].place = plot_matrix(impl_->matrices[i], impl_->names[static_cast<std::size_t>(axis)]);
  }
  plots.inputs = impl_->inputs;
  return plots;
}

}  // namespace gradhealth
