#include <algorithm>
#include <map>
#include <ostream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <pugixml.hpp>

#include <gradhealth/report.h>

#include "report/escape.h"
#include "report/summary.h"

namespace gradhealth {
namespace {

using FindingsByRule = std::map<std::string, std::vector<const Finding*>>;

void collect(const std::vector<DiagnosedFinding>& found, FindingsByRule& by_rule) {
  for (const DiagnosedFinding& one : found) {
    by_rule[one.finding.rule].push_back(&one.finding);
    collect(one.consequences, by_rule);
  }
}

std::string body(const Finding& f) {
  const std::string label = subject_label(f.subject, false);
  std::string text =
      fmt::format("{}: {}, {}\n{}\n", name(f.severity), label.empty() ? "whole run" : label, step_range(f), f.message);
  for (const Evidence& evidence : f.evidence) {
    const std::string of = evidence.subject.empty() ? "" : " of " + evidence.subject;
    text += fmt::format("evidence: {}{}: {}\n", evidence.what, of, comparison(evidence));
  }
  for (const Recommendation& advice : f.recommendations)
    text += fmt::format("fix: {}\n{}\n", advice_text(advice), advice.code);
  return text;
}

class Suite {
 public:
  /// @param several_runs names the run in the classname, too: GitLab tells tests apart by it, not by their suite.
  Suite(pugi::xml_node root, const Report& report, const ModelReport& model, bool several_runs) {
    const std::string& own = model.run.info.name;
    const std::string title = report.models.size() > 1 ? report.run + ": " + own : report.run;
    classname_ = "gradhealth" + (several_runs ? "." + undotted(report.run) : "") + (own.empty() ? "" : "." + own);
    node_ = root.append_child("testsuite");
    set(node_, "name", title);
    for (const char* count : {"tests", "failures", "errors", "skipped"}) node_.append_attribute(count) = 0;
  }

  void findings(const std::string& rule, const std::vector<const Finding*>& found, Severity fail_on) {
    pugi::xml_node test = add_case(rule);
    std::string text;
    const Finding* worst = found.front();
    for (const Finding* one : found) {
      if (one->severity > worst->severity) worst = one;
      text += (text.empty() ? "" : "\n") + body(*one);
    }
    if (worst->severity < fail_on) {
      set_text(test.append_child("system-out"), text);
      return;
    }
    pugi::xml_node failure = test.append_child("failure");
    set(failure, "message", worst->message);
    set(failure, "type", std::string(name(worst->severity)));
    set_text(failure, text);
    increase("failures");
  }

  void passed(const std::string& rule) { add_case(rule); }

  void skipped(const std::string& rule, const std::string& reason) {
    set(add_case(rule).append_child("skipped"), "message", reason);
    increase("skipped");
  }

  void cannot_judge(const std::string& reason) {
    set(add_case("verdict").append_child("error"), "message", "undecided: " + reason);
    increase("errors");
  }

 private:
  /// Jenkins takes what is behind the last dot for a class of its own.
  static std::string undotted(std::string text) {
    std::replace(text.begin(), text.end(), '.', '_');
    return text;
  }

  pugi::xml_node add_case(const std::string& name) {
    pugi::xml_node test = node_.append_child("testcase");
    set(test, "classname", classname_);
    set(test, "name", name);
    increase("tests");
    return test;
  }

  static void set(pugi::xml_node node, const char* attribute, const std::string& value) {
    node.append_attribute(attribute) = printable(value).c_str();
  }

  static void set_text(pugi::xml_node node, const std::string& text) {
    node.append_child(pugi::node_pcdata).set_value(printable_text(text).c_str());
  }

  void increase(const char* count) { node_.attribute(count) = node_.attribute(count).as_uint() + 1; }

  pugi::xml_node node_;
  std::string classname_;
};

void add_suite(pugi::xml_node root, const Report& report, const ModelReport& model, bool several_runs,
               const GateOptions& options) {
  Suite suite(root, report, model, several_runs);
  FindingsByRule by_rule;
  collect(model.diagnosis.roots, by_rule);
  for (const auto& [rule, found] : by_rule) suite.findings(rule, found, options.fail_on);
  for (const std::string& rule : model.diagnosis.passed) suite.passed(rule);
  for (const SkippedRule& rule : model.diagnosis.not_evaluated) suite.skipped(rule.rule, rule.reason);
  // Neither passed nor failed, which skipped says where it is seen. A rule that has other findings stands there
  // already.
  std::map<std::string, std::string> suppressed;
  for (const SuppressedFinding& each : model.diagnosis.suppressed)
    if (by_rule.count(each.finding.rule) == 0) suppressed.emplace(each.finding.rule, each.reason);
  for (const auto& [rule, reason] : suppressed) suite.skipped(rule, "suppressed: " + reason);
  Report alone;
  alone.models.push_back({model.run, model.diagnosis, {}, model.finished, model.unfinished_ranks});
  if (gate({alone}, options) == GateOutcome::kCannotJudge) suite.cannot_judge(undecided_because(model));
}

}  // namespace

void write_junit(std::ostream& out, const std::vector<Report>& reports, const GateOptions& options) {
  pugi::xml_document document;
  pugi::xml_node declaration = document.append_child(pugi::node_declaration);
  declaration.append_attribute("version") = "1.0";
  declaration.append_attribute("encoding") = "UTF-8";
  pugi::xml_node root = document.append_child("testsuites");
  root.append_attribute("name") = "gradhealth";
  const bool several = reports.size() > 1;
  for (const Report& report : reports) {
    for (const ModelReport& model : report.models) add_suite(root, report, model, several, options);
    if (report.models.empty() && !options.allow_undecided) {
      const ModelReport nothing;
      Suite(root, report, nothing, several).cannot_judge("nothing was recorded");
    }
  }
  document.save(out, "  ");
}

}  // namespace gradhealth
