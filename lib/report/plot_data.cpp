#include "report/plot_data.h"

#include <cmath>
#include <optional>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "report/cited_series.h"
#include "report/encode.h"
#include "report/escape.h"
#include "report/json.h"
#include "report/summary.h"

namespace gradhealth {
namespace {

constexpr std::size_t kHeatmapColumns = 1024;
constexpr std::size_t kHeatmapCells = 200'000;  // 0.5 MB in base64.
constexpr std::size_t kOtherCells = 100'000;    // Of each further matrix.

std::string quoted(const std::string& text) { return dump(Json(printable(text)), -1); }

template <typename T, typename Format>
std::string list(const std::vector<T>& values, Format format) {
  std::string out = "[";
  for (const T& value : values) {
    if (out.size() > 1) out += ',';
    out += format(value);
  }
  return out + ']';
}

std::string steps(const std::vector<std::int64_t>& values) {
  return list(values, [](std::int64_t step) { return fmt::format("{}", step); });
}

std::string numbers(const std::vector<double>& values) {
  return list(values, [](double value) { return std::isfinite(value) ? fmt::format("{:.4g}", value) : "null"; });
}

/// Without the minimum where every column holds a single value, as in a run that was not thinned.
std::string series(const PlotSeries& plot) {
  bool thinned = false;
  std::string nonfinite;
  for (std::size_t i = 0; i < plot.first_step.size(); ++i) {
    thinned = thinned || plot.minimum[i] < plot.maximum[i];
    if (plot.nonfinite[i] > 0)
      nonfinite += fmt::format("{}[{},{}]", nonfinite.empty() ? "" : ",", i, plot.nonfinite[i]);
  }
  return fmt::format("{{\"step\":{},{}\"max\":{},\"nonfinite\":[{}]}}", steps(plot.first_step),
                     thinned ? "\"min\":" + numbers(plot.minimum) + "," : "", numbers(plot.maximum), nonfinite);
}

std::string heatmap(const PlotMatrix& matrix, std::size_t cells) {
  const EncodedMatrix encoded = encode(matrix, kHeatmapColumns, cells);
  return fmt::format("{{\"step\":{},\"low\":{:.6g},\"high\":{:.6g},\"subjects\":{},\"rows\":{}}}",
                     steps(encoded.first_step), encoded.low, encoded.high, list(matrix.subjects, quoted),
                     list(encoded.rows, [](const std::string& row) { return '"' + base64(row) + '"'; }));
}

void add_marks(const DiagnosedFinding& diagnosed, const std::string& label, std::string& marks) {
  const Finding& f = diagnosed.finding;
  marks += fmt::format("{}{{\"step\":{},\"severity\":\"{}\",\"label\":\"{}\"}}", marks.empty() ? "" : ",", f.first_step,
                       name(f.severity), label);
  for (const DiagnosedFinding& consequence : diagnosed.consequences) add_marks(consequence, "", marks);
}

bool belongs_to(const DiagnosedFinding* root, const ModelReport& model) {
  for (const DiagnosedFinding& own : model.diagnosis.roots)
    if (&own == root) return true;
  return false;
}

/// What a finding cites, drawn under it: at most so many columns.
constexpr std::size_t kEvidenceColumns = 400;

std::string evidence(const ModelReport& model, const Summary& summary) {
  std::string out = "[";
  for (std::size_t i = 0; i < summary.roots.size(); ++i) {
    if (!belongs_to(summary.roots[i], model)) continue;
    const std::optional<CitedSeries> cited = cited_series(summary.roots[i]->finding, model.plots, kEvidenceColumns);
    if (!cited) continue;
    out += fmt::format("{}{{\"finding\":{},\"title\":{},\"threshold\":{},\"series\":{}}}", out.size() > 1 ? "," : "",
                       i + 1, quoted(cited->title),
                       cited->threshold ? fmt::format("{:.6g}", *cited->threshold) : "null", series(cited->series));
  }
  return out + ']';
}

/// Up to which the gradient may have grown or shrunk on its way to the first layer.
double healthy_growth() {
  const Rule* rule = find_rule(catalogue(), "jacobian-growth");
  for (const OptionInfo& option : rule->info.options)
    if (option.name == "growth") return option.default_value;
  return 1;
}

}  // namespace

std::string plot_data(const Report& report) {
  const Summary summary = summarize(report);
  std::string out = "[";
  for (const ModelReport& model : report.models) {
    std::string marks;
    for (std::size_t i = 0; i < summary.roots.size(); ++i)
      if (belongs_to(summary.roots[i], model)) add_marks(*summary.roots[i], fmt::format("{}", i + 1), marks);
    const Plots& plots = model.plots;
    if (out.size() > 1) out += ',';
    out += fmt::format("{{\"name\":{},\"marks\":[{}],\"loss\":{},\"norm\":{},\"rate\":{},\"heatmap\":{}",
                       quoted(model.run.info.name), marks, series(plots.loss), series(plots.global_gradient_norm),
                       series(plots.learning_rate), heatmap(plots.gradient_norm, kHeatmapCells));
    out += fmt::format(",\"updates\":{},\"weights\":{},\"activations\":{},\"growth\":{},\"healthyGrowth\":{},\"evidence\":{}}}",
                       heatmap(plots.update_ratio, kOtherCells), heatmap(plots.weight_norm, kOtherCells),
                       heatmap(plots.activation_rms, kOtherCells), heatmap(plots.cumulative_growth, kOtherCells),
                       healthy_growth(), evidence(model, summary));
  }
  return out + ']';
}

}  // namespace gradhealth
