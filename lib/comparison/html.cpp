#include <ostream>

#include <fmt/format.h>

#include <gradhealth/comparison.h>
#include <gradhealth/version.h>

#include "comparison/svg.h"
#include "comparison/words.h"
#include "report/assets.h"
#include "report/escape.h"
#include "report/summary.h"

namespace gradhealth {
namespace {

/// Two colours that stay apart for the colour-blind; marks of the second run are drawn over the first one's.
constexpr const char* kStyle = R"css(
svg { width: 100%; height: auto; font-size: 12px; }
svg text { fill: var(--soft); }
svg .grid { stroke: var(--grid); }
svg .before { fill: #d55e00; stroke: #d55e00; stroke-linejoin: round; }
svg .after { fill: #0072b2; stroke: #0072b2; stroke-linejoin: round; }
@media (prefers-color-scheme: dark) { svg .after { fill: #56b4e9; stroke: #56b4e9; } }
.key.before { background: #d55e00; }
.key.after { background: #0072b2; }
@media (prefers-color-scheme: dark) { .legend .key.after { background: #56b4e9; } }
)css";

constexpr const char* kLegend =
    "<p class=\"legend\"><span class=\"key before\"></span>before <span class=\"key after\"></span>after</p>\n";

std::string text(const std::string& value) { return value.empty() ? "unknown" : html(printable(value)); }

std::string findings(const std::string& title, const std::vector<Finding>& all) {
  std::string out = fmt::format("<h3>{} ({})</h3>\n", title, all.size());
  if (all.empty()) return out;
  out += "<table><thead><tr><th>Severity</th><th>Finding</th><th>Where</th><th>When</th></tr></thead><tbody>\n";
  for (const Finding& each : all) {
    const std::string where = subject_label(each.subject, false);
    out += fmt::format(
        "<tr class=\"{0}\"><td>{0}</td><td>{1} <code class=\"rule\">{2}</code></td><td>{3}</td><td>{4}</td></tr>\n",
        name(each.severity), html(rule_title(each.rule)), html(printable(each.rule)),
        where.empty() ? "whole run" : html(printable(where)), html(step_range(each)));
  }
  return out + "</tbody></table>\n";
}

std::string settings(const std::vector<ComparedSetting>& all) {
  if (all.empty()) return "<p>None, as far as the files know them.</p>\n";
  std::string out = "<table><thead><tr><th>Setting</th><th>Before</th><th>After</th></tr></thead><tbody>\n";
  for (const ComparedSetting& each : all)
    out += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td></tr>\n", html(each.what), text(each.before),
                       text(each.after));
  return out + "</tbody></table>\n";
}

std::string numbers(const char* what, const std::vector<ComparedNumber>& all) {
  std::string out = fmt::format(
      "<table><thead><tr><th>{}</th><th>Before</th><th>After</th><th>Factor</th></tr></thead><tbody>\n", what);
  for (const ComparedNumber& each : all)
    out += fmt::format(
        "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}"
        "</td></tr>\n",
        text(each.what), number_or_none(each.before), number_or_none(each.after), factor_text(each));
  return out + "</tbody></table>\n";
}

void write_model(std::ostream& out, const ModelComparison& model, bool several) {
  out << "<section>\n";
  if (several) out << "<h2>Model " << text(model.model) << "</h2>\n";
  out << "<h2>Findings</h2>\n"
      << findings("Resolved", model.resolved) << findings("Remaining", model.remaining)
      << findings("New", model.appeared) << "<h2>Settings that differ</h2>\n"
      << settings(model.settings) << "<h2>Loss</h2>\n"
      << compared::loss_curves(model.loss_before, model.loss_after) << kLegend << numbers("Figure", model.figures)
      << "<h2>Gradient norms, median over the steps</h2>\n"
      << compared::gradient_flow(model.gradient_norms) << kLegend
      << "<details><summary>As numbers, most changed first</summary>\n"
      << numbers("Parameter", most_changed_first(model.gradient_norms)) << "</details>\n</section>\n";
}

void write_only(std::ostream& out, const char* what, const std::vector<std::string>& models) {
  for (const std::string& each : models) out << "<p>" << what << ": " << text(each) << "</p>\n";
}

std::string run_line(const char* what, const std::string& run, Verdict verdict) {
  return fmt::format("<p>{}: <span class=\"verdict {}\">{}</span> {}</p>\n", what, name(verdict), name(verdict),
                     text(run));
}

}  // namespace

void write_comparison_html(std::ostream& out, const Comparison& comparison) {
  out << "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
         "base-uri 'none'; form-action 'none'\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
         "<meta name=\"color-scheme\" content=\"light dark\">\n<title>"
      << text(comparison.before) << " and " << text(comparison.after) << "</title>\n<style>\n"
      << report_css() << kStyle << "</style>\n</head>\n<body>\n<header>\n<h1>Before and after</h1>\n"
      << run_line("Before", comparison.before, comparison.verdict_before)
      << run_line("After", comparison.after, comparison.verdict_after) << "</header>\n<main>\n";
  for (const ModelComparison& model : comparison.models) write_model(out, model, comparison.models.size() > 1);
  write_only(out, "Only before", comparison.only_before);
  write_only(out, "Only after", comparison.only_after);
  out << "</main>\n<footer>\n<p>gradhealth " << GRADHEALTH_VERSION << "</p>\n</footer>\n</body>\n</html>\n";
}

}  // namespace gradhealth
