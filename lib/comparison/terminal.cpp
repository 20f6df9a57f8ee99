#include <algorithm>
#include <cmath>
#include <ostream>

#include <fmt/format.h>

#include <gradhealth/comparison.h>

#include "comparison/words.h"
#include "report/escape.h"
#include "report/style.h"
#include "report/summary.h"
#include "report/text_plot.h"
#include "report/wrap.h"

namespace gradhealth {
namespace {

constexpr std::size_t kRows = 3;
constexpr std::size_t kMostParameters = 12;
constexpr std::size_t kMostName = 40;
constexpr const char* kIndent = "  ";

class Writer {
 public:
  Writer(std::ostream& out, const Comparison& comparison, const TerminalOptions& options)
      : out_(out), comparison_(comparison), options_(options), style_(options.colour) {}

  void write() {
    line(wrap(printable(comparison_.before) + arrow() + printable(comparison_.after), width(), "  ",
              style_.bold("gradhealth diff: ")));
    line(kIndent + verdict_text(comparison_.verdict_before) + arrow() + verdict_text(comparison_.verdict_after) + "\n");
    for (const ModelComparison& model : comparison_.models) write(model);
    only("Only before", comparison_.only_before);
    only("Only after", comparison_.only_after);
  }

 private:
  std::size_t width() const { return std::max<std::size_t>(options_.width, 40); }
  std::string arrow() const { return options_.charset == Charset::kAscii ? " -> " : " → "; }

  void line(const std::string& text) { out_ << (options_.charset == Charset::kAscii ? ascii(text) : text); }

  std::string verdict_text(Verdict verdict) const { return style_.of(verdict, std::string(name(verdict))); }

  void title(const std::string& text) { line("\n" + style_.bold(text) + "\n"); }

  void write(const ModelComparison& model) {
    if (comparison_.models.size() > 1) title("Model " + printable(model.model));
    findings("Resolved", model.resolved);
    findings("Remaining", model.remaining);
    findings("New", model.appeared);
    settings(model.settings);
    figures(model.figures);
    curves(model);
    gradients(model.gradient_norms);
  }

  void findings(const std::string& what, const std::vector<Finding>& findings) {
    title(fmt::format("{} ({})", what, findings.size()));
    for (const Finding& each : findings) {
      const std::string where = subject_label(each.subject, false);
      line(wrap(fmt::format("{}: {} [{}], {}, {}", name(each.severity), rule_title(each.rule), printable(each.rule),
                            where.empty() ? "whole run" : printable(where), step_range(each)),
                width(), "    ", "  - "));
    }
  }

  void settings(const std::vector<ComparedSetting>& settings) {
    title("Settings that differ, as far as the files know them");
    if (settings.empty()) line("  none\n");
    const auto shown = [](const std::string& text) { return text.empty() ? std::string("unknown") : printable(text); };
    for (const ComparedSetting& each : settings)
      line(wrap(each.what + ": " + shown(each.before) + arrow() + shown(each.after), width(), "    ", kIndent));
  }

  void figures(const std::vector<ComparedNumber>& figures) {
    title(fmt::format("{:28}{:>12}{:>12}", "Figures", "before", "after"));
    for (const ComparedNumber& each : figures)
      line(fmt::format("  {:26}{:>12}{:>12}\n", each.what, number_or_none(each.before), number_or_none(each.after)));
  }

  void curves(const ModelComparison& model) {
    const std::size_t taken = 2 + kTextPlotLabel + 1;
    TextAxis axis = text_axis(model.loss_before, std::min<std::size_t>(width() - taken, 64));
    const TextAxis other = text_axis(model.loss_after, axis.cells);
    if (model.loss_before.first_step.empty()) axis = other;
    if (!model.loss_after.first_step.empty()) {
      axis.first_step = std::min(axis.first_step, other.first_step);
      axis.last_step = std::max(axis.last_step, other.last_step);
    }
    curve("Loss before", model.loss_before, axis);
    curve("Loss after", model.loss_after, axis);
  }

  void curve(const std::string& what, const PlotSeries& series, const TextAxis& axis) {
    const std::vector<std::string> lines = text_plot(series, axis, kRows, options_.charset);
    if (lines.empty()) return;
    title(what + fmt::format(", steps {} to {}", axis.first_step, axis.last_step) +
          (is_logarithmic(series) ? ", logarithmic" : ""));
    for (const std::string& each : lines) out_ << kIndent << each << '\n';
  }

  void gradients(const std::vector<ComparedNumber>& norms) {
    if (norms.empty()) return;
    const std::vector<ComparedNumber> sorted = most_changed_first(norms);
    title(fmt::format("{:42}{:>12}{:>12}{:>10}", "Gradient norms, median; most changed first", "before", "after",
                      "factor"));
    const std::size_t shown = std::min(sorted.size(), kMostParameters);
    for (std::size_t i = 0; i < shown; ++i) {
      const std::string name = shortened(printable(sorted[i].what), kMostName);
      const std::string gap(name.size() < kMostName ? kMostName - std::min(kMostName, display_width(name)) : 0, ' ');
      line(fmt::format("  {}{}{:>12}{:>12}{:>10}\n", name, gap, number_or_none(sorted[i].before),
                       number_or_none(sorted[i].after), factor_text(sorted[i])));
    }
    if (shown < sorted.size()) line(fmt::format("  and {} more (--format json has all)\n", sorted.size() - shown));
  }

  void only(const std::string& what, const std::vector<std::string>& models) {
    for (const std::string& each : models) line("\n" + what + ": " + printable(each) + "\n");
  }

  std::ostream& out_;
  const Comparison& comparison_;
  TerminalOptions options_;
  Style style_;
};

}  // namespace

void write_comparison(std::ostream& out, const Comparison& comparison, const TerminalOptions& options) {
  Writer(out, comparison, options).write();
}

}  // namespace gradhealth
