#include <ostream>
#include <string>
#include <vector>

#include <gradhealth/report.h>

#include "report/escape.h"
#include "report/issues.h"
#include "report/json.h"

namespace gradhealth {
namespace {

const char* gitlab_severity(Severity severity) {
  switch (severity) {
    case Severity::kError: return "critical";
    case Severity::kWarning: return "minor";
    case Severity::kInfo: return "info";
  }
  return "info";
}

std::string described(const Issue& issue, bool several_runs) {
  const Finding& f = *issue.finding;
  std::string text = several_runs ? issue.report->run + ": " : "";
  text += rule_title(f.rule) + " (" + issue.where + "): " + f.message;
  if (!f.recommendations.empty()) text += " Fix: " + advice_text(f.recommendations.front());
  return printable(text);
}

Json location(const Report& report, const CiOptions& options) {
  return {{"path", printable(location_path(report, options))},
          {"lines", {{"begin", options.source.empty() ? 1 : options.line}}}};
}

}  // namespace

void write_gitlab(std::ostream& out, const std::vector<Report>& reports, const CiOptions& options) {
  Json list = Json::array();
  for (const Issue& issue : issues_by_importance(reports))
    list.push_back({{"description", described(issue, reports.size() > 1)},
                    {"check_name", printable(issue.finding->rule)},
                    {"fingerprint", issue.fingerprint},
                    {"severity", gitlab_severity(issue.finding->severity)},
                    {"location", location(*issue.report, options)}});
  // An empty list would read as healthy.
  for (const Undecided& each : undecided(reports, options.gate)) {
    const std::string who = each.report->run + (each.model.empty() ? "" : ": " + each.model);
    list.push_back({{"description", printable(who + ": undecided because " + each.reason)},
                    {"check_name", "undecided"},
                    {"fingerprint", fingerprint({"undecided", each.model, reports.size() > 1 ? each.report->run : ""})},
                    {"severity", each.accepted ? "info" : "critical"},
                    {"location", location(*each.report, options)}});
  }
  out << dump(list, 2) << '\n';
}

}  // namespace gradhealth
