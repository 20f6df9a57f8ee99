#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <gradhealth/report.h>
#include <gradhealth/version.h>

#include "report/escape.h"
#include "report/issues.h"
#include "report/json.h"
#include "report/sarif_rules.h"

namespace gradhealth {
namespace {

const char* level(Severity severity) {
  switch (severity) {
    case Severity::kError: return "error";
    case Severity::kWarning: return "warning";
    case Severity::kInfo: return "note";
  }
  return "none";
}

/// The text for `message.text`, where braces and bracketed links have a meaning.
Json message(std::string_view text) {
  const std::string shown = printable_text(text);
  std::string out;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    out += shown[i];
    if (shown[i] == '{' || shown[i] == '}') out += shown[i];
    if (shown.compare(i, 2, "](") == 0) out += ' ';
  }
  return {{"text", out}};
}

std::string percent_encoded(std::string_view path) {
  std::string out;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~/").find(c) != std::string_view::npos;
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

Json physical_location(const Report& report, const CiOptions& options) {
  const std::string path = location_path(report, options);
  Json artifact;
  if (path.front() == '/')
    artifact = {{"uri", "file://" + percent_encoded(path)}};
  else
    artifact = {{"uri", percent_encoded(path)}, {"uriBaseId", "%SRCROOT%"}};
  // GitHub takes no result without a line; a run file has none, and gets the first.
  const int line = options.source.empty() ? 1 : options.line;
  return {{"artifactLocation", artifact}, {"region", {{"startLine", line}, {"startColumn", 1}, {"endLine", line}}}};
}

/// "parameter", "activation", "feature"; "member" for what the run's tables do not have.
std::string kind_of(const Report& report, const SubjectRef& subject) {
  for (const ModelReport& model : report.models) {
    if (model.run.info.name != subject.model) continue;
    for (const Axis axis : {Axis::kParameter, Axis::kActivation, Axis::kFeature})
      for (const Subject& each : model.run.of(axis))
        if (each.name == subject.name) return std::string(name(axis));
  }
  return "member";
}

Json logical_locations(const Issue& issue) {
  const SubjectRef& subject = issue.finding->subject;
  const std::string prefix = subject.model.empty() ? "" : printable(subject.model) + "/";
  Json list = Json::array();
  const auto add = [&](const std::string& name, const std::string& kind) {
    list.push_back({{"name", printable(name)}, {"fullyQualifiedName", prefix + printable(name)}, {"kind", kind}});
  };
  if (!subject.name.empty()) add(subject.name, kind_of(*issue.report, subject));
  if (!subject.module.empty() && subject.module != subject.name) add(subject.module, "module");
  return list;
}

std::string told(const Issue& issue, bool several_runs) {
  const Finding& f = *issue.finding;
  std::string text = f.message.empty() ? rule_title(f.rule) + "." : f.message;
  text += fmt::format("\n{}{}, {}.", several_runs ? issue.report->run + ": " : "", issue.where, step_range(f));
  for (const Evidence& evidence : f.evidence) text += "\n" + evidence.what + ": " + comparison(evidence);
  if (!f.recommendations.empty()) text += "\nFix: " + advice_text(f.recommendations.front());
  if (issue.cause != nullptr) text += "\nCaused by: " + rule_title(issue.cause->rule) + ".";
  return text;
}

Json reference(const Finding& finding) {
  return {{"rule", finding.rule},
          {"severity", name(finding.severity)},
          {"subject", subject_label(finding.subject, true)},
          {"first_step", finding.first_step}};
}

Json properties(const Issue& issue) {
  const Finding& f = *issue.finding;
  Json consequences = Json::array();
  if (issue.diagnosed != nullptr)
    for (const DiagnosedFinding& one : issue.diagnosed->consequences) consequences.push_back(reference(one.finding));
  return {{"run", issue.report->run},
          {"model", f.subject.model},
          {"first_step", f.first_step},
          {"last_step", f.last_step},
          {"confidence", json_number(f.confidence)},
          {"evidence", evidence_json(f)},
          {"recommendations", recommendations_json(f)},
          {"cause", issue.cause != nullptr ? reference(*issue.cause) : Json(nullptr)},
          {"consequences", consequences}};
}

Json result(const Issue& issue, const CiOptions& options, bool several_runs, SarifRules& rules) {
  const Finding& f = *issue.finding;
  Json location = {{"physicalLocation", physical_location(*issue.report, options)}};
  const Json logical = logical_locations(issue);
  if (!logical.empty()) location["logicalLocations"] = logical;
  // GitHub looks at primaryLocationLineHash alone. It would make one from the line, and take all findings of a rule,
  // which have one line, for one.
  Json json = {
      {"ruleId", f.rule},
      {"ruleIndex", rules.index(f.rule)},
      {"level", level(f.severity)},
      {"message", message(told(issue, several_runs))},
      {"locations", Json::array({location})},
      {"partialFingerprints", {{"gradhealth/v1", issue.fingerprint}, {"primaryLocationLineHash", issue.fingerprint}}},
      {"properties", properties(issue)}};
  if (issue.suppressed_because != nullptr)
    json["suppressions"] =
        Json::array({{{"kind", "external"}, {"status", "accepted"}, {"justification", *issue.suppressed_because}}});
  return json;
}

Json notification(const char* id, const char* level, const std::string& text) {
  return {{"descriptor", {{"id", id}}}, {"level", level}, {"message", message(text)}};
}

Json invocation(const std::vector<Report>& reports, const CiOptions& options, SarifRules& rules) {
  Json execution = Json::array(), configuration = Json::array();
  for (const Undecided& each : undecided(reports, options.gate))
    execution.push_back(notification(
        "undecided", each.accepted ? "warning" : "error",
        each.report->run + (each.model.empty() ? "" : ": " + each.model) + ": undecided because " + each.reason + "."));
  for (const Report& report : reports) {
    for (const SkippedRule& rule : summarize(report).not_evaluated) {
      execution.push_back(
          notification("not-evaluated", "note", report.run + ": " + rule.rule + " was not evaluated: " + rule.reason));
      execution.back()["associatedRule"] = {{"id", rule.rule}, {"index", rules.index(rule.rule)}};
    }
    for (const ModelReport& model : report.models)
      for (const Suppression& each : model.diagnosis.expired)
        configuration.push_back(notification("expired-suppression", "warning",
                                             fmt::format("{}: the suppression of {} ({}) expired on {}.", report.run,
                                                         each.rule, each.reason, each.expires)));
  }
  Json json = {{"executionSuccessful", gate(reports, options.gate) != GateOutcome::kCannotJudge},
               {"toolExecutionNotifications", execution}};
  if (!configuration.empty()) json["toolConfigurationNotifications"] = configuration;
  return json;
}

}  // namespace

void write_sarif(std::ostream& out, const std::vector<Report>& reports, const CiOptions& options) {
  SarifRules rules;
  Json results = Json::array();
  for (const Issue& issue : issues(reports)) results.push_back(result(issue, options, reports.size() > 1, rules));
  const Json invocations = Json::array({invocation(reports, options, rules)});
  const Json driver = {{"name", "gradhealth"},
                       {"version", GRADHEALTH_VERSION},
                       {"semanticVersion", GRADHEALTH_VERSION},
                       {"rules", rules.take()},
                       {"notifications", SarifRules::notifications()}};
  // One SARIF run, however many were judged: GitHub refuses two of one tool in a file.
  const Json run = {{"tool", {{"driver", driver}}},
                    {"invocations", invocations},
                    {"originalUriBaseIds", {{"%SRCROOT%", {{"description", {{"text", "Top of the repository"}}}}}}},
                    {"results", results}};
  out << dump({{"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
               {"version", "2.1.0"},
               {"runs", Json::array({run})}},
              2)
      << '\n';
}

}  // namespace gradhealth
