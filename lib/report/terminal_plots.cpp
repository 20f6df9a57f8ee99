#include "report/terminal_plots.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "report/escape.h"
#include "report/input_histograms.h"
#include "report/text_plot.h"

namespace gradhealth {
namespace {

constexpr std::size_t kRows = 3;
constexpr std::size_t kIndent = 2;
constexpr std::size_t kMostCells = 64;

std::string titled(std::string_view title, const PlotSeries& series, const TextAxis& axis, Charset charset) {
  const std::vector<std::string> lines = text_plot(series, axis, kRows, charset);
  if (lines.empty()) return {};
  std::string text = fmt::format("  {}", title);
  if (is_logarithmic(series)) text += ", logarithmic";
  if (std::any_of(series.nonfinite.begin(), series.nonfinite.end(), [](auto count) { return count > 0; }))
    text += charset == Charset::kAscii ? ", x: not finite" : ", ×: not finite";
  text += '\n';
  for (const std::string& line : lines) text += std::string(kIndent, ' ') + line + '\n';
  return text;
}

std::string steps(const TextAxis& axis) {
  const std::string first = fmt::format("{}", axis.first_step), last = fmt::format("{}", axis.last_step);
  std::string line = std::string(kIndent, ' ') + fmt::format("{:>{}} ", "step", kTextPlotLabel) + first;
  const std::size_t end = kIndent + kTextPlotLabel + 1 + axis.cells;
  const std::size_t gap = end > line.size() + last.size() ? end - line.size() - last.size() : 1;
  return line + std::string(gap, ' ') + last + '\n';
}

/// An arrow below the step, and the rule on the side that has more room.
std::string mark(const Finding& finding, const TextAxis& axis, Charset charset) {
  const std::size_t cell = axis.place(finding.first_step, axis.cells);
  const std::string arrow = charset == Charset::kAscii ? "^" : "▲";
  std::string rule = shortened(printable(finding.rule), axis.cells / 2);
  if (charset == Charset::kAscii) rule = ascii(rule);
  const std::string what = fmt::format("{} since step {}", rule, finding.first_step);
  const std::size_t left = kIndent + kTextPlotLabel + 1 + cell;
  if (2 * cell < axis.cells || left < what.size() + 1) return std::string(left, ' ') + arrow + " " + what + '\n';
  return std::string(left - what.size() - 1, ' ') + what + " " + arrow + '\n';
}

/// The most important finding, unless it is only a note.
const Finding* worst_finding(const ModelReport& model) {
  if (model.diagnosis.roots.empty()) return nullptr;
  const Finding& first = model.diagnosis.roots.front().finding;
  return first.severity == Severity::kInfo ? nullptr : &first;
}

/// ", G" where there are several models.
std::string of_model(const ModelReport& model, const Summary& summary, Charset charset) {
  if (!summary.several_models) return {};
  const std::string name = printable(model_name(model));
  return ", " + (charset == Charset::kAscii ? ascii(name) : name);
}

std::string over_the_run(const ModelReport& model, const Summary& summary, std::size_t width, Charset charset) {
  const PlotSeries& loss = model.plots.loss;
  const PlotSeries& norm = model.plots.global_gradient_norm;
  const std::size_t taken = kIndent + kTextPlotLabel + 1;
  const std::size_t cells = std::clamp<std::size_t>(width > taken ? width - taken : 0, 16, kMostCells);
  const TextAxis axis = text_axis(loss.first_step.empty() ? norm : loss, cells);
  const std::string plots = titled("loss", loss, axis, charset) + titled("global gradient norm", norm, axis, charset);
  if (plots.empty()) return {};
  std::string text = "\nOver the run" + of_model(model, summary, charset) + ":\n" + plots + steps(axis);
  if (const Finding* finding = worst_finding(model)) text += mark(*finding, axis, charset);
  return text;
}

}  // namespace

std::string terminal_plots(const ModelReport& model, const Summary& summary, std::size_t width, Charset charset) {
  const std::string histograms = histogram_lines(model.plots.histograms, width, charset);
  return over_the_run(model, summary, width, charset) +
         (histograms.empty() ? "" : "\nInput" + of_model(model, summary, charset) + ":\n" + histograms);
}

}  // namespace gradhealth
