#include <algorithm>
#include <ostream>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include <gradhealth/report.h>
#include <gradhealth/version.h>

#include "report/assets.h"
#include "report/encode.h"
#include "report/escape.h"
#include "report/html_findings.h"
#include "report/input_histograms.h"
#include "report/json.h"
#include "report/plot_data.h"
#include "report/summary.h"

namespace gradhealth {
namespace {

/// Nothing may be loaded, and no script runs but the two that this library brings: should an escape be
/// missing somewhere, a module's name still cannot run.
std::string content_security_policy() {
  return fmt::format(
      "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{}' 'sha256-{}'; base-uri "
      "'none'; form-action 'none'",
      base64(from_hex(dygraph_js_sha256())), base64(from_hex(report_js_sha256())));
}

void write_head(std::ostream& out, const Report& report, const Summary& summary) {
  out << "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      << "<meta http-equiv=\"Content-Security-Policy\" content=\"" << content_security_policy() << "\">\n"
      << "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      << "<meta name=\"color-scheme\" content=\"light dark\">\n"
      << "<title>" << name(summary.verdict) << ": " << html(printable(report.run)) << "</title>\n"
      << "<style>\n"
      << dygraph_css() << '\n'
      << report_css() << "</style>\n</head>\n";
}

void write_header(std::ostream& out, const Report& report, const Summary& summary) {
  const FindingCounts counts = count(summary.roots);
  out << "<header>\n<h1><span class=\"verdict " << name(summary.verdict) << "\">" << name(summary.verdict)
      << "</span> <span class=\"run\">" << html(printable(report.run)) << "</span></h1>\n<p>" << coverage(report);
  if (!summary.roots.empty())
    out << fmt::format(" · errors: {} · warnings: {} · notes: {} · root causes: {}", counts.errors, counts.warnings,
                       counts.infos, summary.roots.size());
  out << "</p>\n";
  if (!summary.undecided_because.empty())
    out << "<p class=\"caution\">Undecided because " << html(summary.undecided_because) << ".</p>\n";
  else if (!summary.finished)
    out << "<p class=\"caution\">The recording was not finished.</p>\n";
  // Shown by the script, which makes it work.
  out << "<button type=\"button\" id=\"theme\" hidden>Theme: as the system</button>\n</header>\n";
}

void write_suppressed(std::ostream& out, const Report& report) {
  std::string kept, expired;
  for (const ModelReport& model : report.models) {
    for (const SuppressedFinding& each : model.diagnosis.suppressed) {
      const std::string where = subject_label(each.finding.subject, report.models.size() > 1);
      kept += fmt::format("<tr><td>{}</td><td>{} <code class=\"rule\">{}</code></td><td>{}</td><td>{}</td></tr>\n",
                          name(each.finding.severity), html(rule_title(each.finding.rule)), html(each.finding.rule),
                          where.empty() ? "whole run" : html(printable(where)), html(printable(each.reason)));
    }
    for (const Suppression& each : model.diagnosis.expired)
      expired += fmt::format("<li><code class=\"rule\">{}</code>, expired on {}: {}</li>\n", html(printable(each.rule)),
                             html(printable(each.expires)), html(printable(each.reason)));
  }
  if (kept.empty() && expired.empty()) return;
  out << "<section id=\"suppressed\">\n<h2>Suppressed</h2>\n";
  if (!kept.empty())
    out << "<table><thead><tr><th>Severity</th><th>Finding</th><th>Where</th><th>Because</th></tr></thead><tbody>\n"
        << kept << "</tbody></table>\n";
  if (!expired.empty()) out << "<h3>No longer suppressed</h3>\n<ul>\n" << expired << "</ul>\n";
  out << "</section>\n";
}

void write_histograms(std::ostream& out, const Plots& plots) {
  std::string figures;
  for (const InputHistograms& each : plots.histograms)
    if (!each.first.shares.empty()) figures += histogram_figure(each);
  if (!figures.empty())
    out << "<div class=\"histograms\">\n"
        << figures
        << "</div>\n<p class=\"hint\">Histograms of at most 4,096 evenly spaced values of the first and the last step "
           "that was recorded. Percentages are shares of the values, for bars as wide as the highest one; where "
           "nothing "
           "else is said, equal areas are equal shares.</p>\n";
  if (plots.histograms_damaged) out << "<p class=\"hint\">Histograms that are damaged in the file are left out.</p>\n";
}

void write_inputs(std::ostream& out, const Report& report) {
  for (const ModelReport& model : report.models) {
    const std::vector<InputRange>& inputs = model.plots.inputs;
    if (inputs.empty()) continue;
    out << "<section class=\"inputs\">\n<h2>Input"
        << (report.models.size() > 1 ? " of " + html(printable(model_name(model))) : "")
        << "</h2>\n<table><thead><tr><th>Feature</th><th>Minimum</th><th>Mean</th><th>Deviation</th><th>Maximum</th>"
           "</tr></thead><tbody>\n";
    for (std::size_t i = 0; i < std::min(inputs.size(), kMostInputsShown); ++i)
      out << fmt::format(
          "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>"
          "<td class=\"number\">{}</td></tr>\n",
          html(printable(inputs[i].feature)), number(inputs[i].minimum), number(inputs[i].mean),
          number(inputs[i].deviation), number(inputs[i].maximum));
    out << "</tbody></table>\n<p class=\"hint\">Minimum and maximum over the run, mean and standard deviation in its "
           "first step";
    if (inputs.size() > kMostInputsShown) out << fmt::format("; {} more features", inputs.size() - kMostInputsShown);
    out << ".</p>\n";
    write_histograms(out, model.plots);
    out << "</section>\n";
  }
}

void write_rules(std::ostream& out, const Summary& summary) {
  out << "<section id=\"rules\">\n<h2>Rules</h2>\n<h3>Passed (" << fmt::format("{}", summary.passed.size())
      << ")</h3>\n<ul class=\"passed\">\n";
  for (const std::string& rule : summary.passed)
    // By id alone: a title names the pathology, which would read as found.
    out << "<li><code class=\"rule\">" << html(rule) << "</code></li>\n";
  out << "</ul>\n<h3>Not evaluated (" << fmt::format("{}", summary.not_evaluated.size()) << ")</h3>\n";
  if (!summary.not_evaluated.empty()) {
    out << "<table><thead><tr><th>Rule</th><th>Because</th></tr></thead><tbody>\n";
    for (const SkippedRule& rule : summary.not_evaluated)
      out << "<tr><td><code class=\"rule\">" << html(rule.rule) << "</code></td><td>" << html(rule.reason)
          << "</td></tr>\n";
    out << "</tbody></table>\n";
  }
  out << "</section>\n";
}

void write_entry(std::ostream& out, const char* term, const std::string& text) {
  if (!text.empty()) out << "<dt>" << term << "</dt><dd>" << html(text) << "</dd>\n";
}

std::string optimizer(const RunInfo& run) {
  std::string text = run.optimizer;
  if (run.momentum) text += fmt::format("{}momentum {:.4g}", text.empty() ? "" : ", ", *run.momentum);
  if (run.weight_decay) text += fmt::format("{}weight decay {:.4g}", text.empty() ? "" : ", ", *run.weight_decay);
  return text;
}

void write_run(std::ostream& out, const Report& report) {
  out << "<section id=\"run\">\n<h2>Run</h2>\n";
  for (const ModelReport& model : report.models) {
    const RunInfo& run = model.run.info;
    out << "<dl>\n";
    write_entry(out, "Model", run.name);
    write_entry(out, "Recorded steps", fmt::format("{}", model.diagnosis.steps));
    write_entry(out, "Recording", model.finished ? "finished" : "not finished" + unfinished_ranks(model));
    if (run.world_size > 1) write_entry(out, "Ranks", fmt::format("{}", run.world_size));
    write_entry(out, "Parameters", fmt::format("{}", model.run.of(Axis::kParameter).size()));
    write_entry(out, "Optimizer", optimizer(run));
    write_entry(out, "Started (UTC)", run.created_utc);
    write_entry(out, "Libraries", run.libraries);
    write_entry(out, "Command line", run.command_line);
    out << "</dl>\n";
  }
  out << "</section>\n";
}

/// JSON inside HTML: `<` can only stand in a string there, so that its escape means the same.
std::string in_script(const std::string& json) {
  std::string out;
  out.reserve(json.size());
  for (const char c : json) c == '<' ? out += "\\u003c" : out += c;
  return out;
}

void write_scripts(std::ostream& out, const Report& report) {
  out << "<script type=\"application/json\" id=\"gradhealth-data\">"
      << in_script("{\"report\":" + dump(to_json(report), -1) + ",\n\"plots\":" + plot_data(report) + "}")
      << "</script>\n<script>" << dygraph_js() << "</script>\n<script>" << report_js() << "</script>\n";
}

}  // namespace

void write_html(std::ostream& out, const Report& report) {
  const Summary summary = summarize(report);
  write_head(out, report, summary);
  out << "<body>\n";
  write_header(out, report, summary);
  out << "<main>\n<section id=\"findings\">\n<h2>Findings</h2>\n"
      << html_findings(summary) << "</section>\n"
      << "<section id=\"plots\">\n<h2>Plots</h2>\n"
      << "<noscript><p>The plots need JavaScript; everything else on this page does not.</p></noscript>\n</section>\n";
  write_inputs(out, report);
  write_suppressed(out, report);
  write_rules(out, summary);
  write_run(out, report);
  out << "</main>\n<footer>\n<p>gradhealth " << GRADHEALTH_VERSION << "</p>\n<details><summary>Licences</summary><pre>"
      << html(dygraph_licence()) << "</pre></details>\n</footer>\n";
  write_scripts(out, report);
  out << "</body>\n</html>\n";
}

}  // namespace gradhealth
