#include "report/html_findings.h"

#include <fmt/format.h>

#include "report/escape.h"

namespace gradhealth {
namespace {

std::string evidence_table(const Finding& f) {
  std::string rows;
  for (const Evidence& evidence : f.evidence)
    rows += fmt::format("<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{} {}</td></tr>\n",
                        html(evidence.what), html(evidence.subject), number(evidence.observed), html(evidence.relation),
                        number(evidence.threshold));
  if (rows.empty()) return {};
  return "<table class=\"evidence\"><thead><tr><th>Evidence</th><th>Of</th><th>Observed</th><th>Threshold</th></tr>"
         "</thead><tbody>\n" +
         rows + "</tbody></table>\n";
}

std::string fix(const Recommendation& advice) {
  std::string out = "<div class=\"fix\"><p class=\"advice\">" + html(advice_text(advice)) + "</p>\n";
  if (!advice.why.empty()) out += "<p>" + html(advice.why) + "</p>\n";
  if (!advice.code.empty()) out += "<pre class=\"code\"><code>" + html(advice.code) + "</code></pre>\n";
  return out + "</div>\n";
}

std::string fixes(const Finding& f) {
  if (f.recommendations.empty()) return {};
  std::string out = "<h4>Fix</h4>\n" + fix(f.recommendations.front());
  if (f.recommendations.size() == 1) return out;
  out += "<details class=\"others\"><summary>Other ways</summary>\n";
  for (std::size_t i = 1; i < f.recommendations.size(); ++i) out += fix(f.recommendations[i]);
  return out + "</details>\n";
}

std::size_t consequences_of(const DiagnosedFinding& diagnosed) {
  std::size_t total = diagnosed.consequences.size();
  for (const DiagnosedFinding& one : diagnosed.consequences) total += consequences_of(one);
  return total;
}

std::string card(const DiagnosedFinding& diagnosed, const std::string& number_of_root, bool several_models) {
  const Finding& f = diagnosed.finding;
  const std::string label = subject_label(f.subject, several_models);
  const std::string confidence = f.confidence < 0.995 ? fmt::format(" · confidence {:.0f} %", 100 * f.confidence) : "";
  const std::string id = number_of_root.empty() ? "" : fmt::format(" id=\"finding-{}\"", number_of_root);
  std::string out = fmt::format("<article class=\"card {}\"{}>\n<h3>", name(f.severity), id);
  if (!number_of_root.empty()) out += fmt::format("<span class=\"index\">{}</span> ", number_of_root);
  out += fmt::format("<span class=\"badge\">{}</span> {} <code class=\"rule\">{}</code></h3>\n", name(f.severity),
                     html(rule_title(f.rule)), html(f.rule));
  out += fmt::format("<p class=\"where\"><strong>{}</strong> · {}{}</p>\n", label.empty() ? "Whole run" : html(label),
                     step_range(f), confidence);
  out += "<p class=\"message\">" + html(f.message) + "</p>\n" + evidence_table(f);
  // The script draws what the evidence is about here.
  if (!number_of_root.empty()) out += "<div class=\"cited\"></div>\n";
  out += fixes(f);
  if (!diagnosed.consequences.empty()) {
    const std::size_t total = consequences_of(diagnosed);
    out += fmt::format("<details class=\"consequences\"><summary>Led to {} more finding{}</summary>\n", total,
                       total == 1 ? "" : "s");
    for (const DiagnosedFinding& one : diagnosed.consequences) out += card(one, "", several_models);
    out += "</details>\n";
  }
  return out + "</article>\n";
}

std::string no_findings(Verdict verdict) {
  if (verdict == Verdict::kHealthy)
    return "<p class=\"nothing\">No finding: every rule that was evaluated passed.</p>\n";
  return "<p class=\"nothing\">No finding, but this run cannot be called healthy: too little of it was seen.</p>\n";
}

}  // namespace

std::string html_findings(const Summary& summary) {
  std::string out;
  for (std::size_t i = 0; i < summary.roots.size(); ++i)
    out += card(*summary.roots[i], fmt::format("{}", i + 1), summary.several_models);
  return out.empty() ? no_findings(summary.verdict) : out;
}

}  // namespace gradhealth
