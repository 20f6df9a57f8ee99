#include "report/issues.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <utility>

#include <fmt/format.h>

namespace gradhealth {
namespace {

class Lister {
 public:
  explicit Lister(const std::vector<Report>& reports) : several_runs_(reports.size() > 1) {
    for (const Report& report : reports) add(report);
  }

  std::vector<Issue> take() { return std::move(issues_); }

 private:
  void add(const Report& report) {
    const Summary summary = summarize(report);
    several_models_ = summary.several_models;
    for (const DiagnosedFinding* root : summary.roots) add_tree(report, *root, nullptr);
    for (const ModelReport& model : report.models)
      for (const SuppressedFinding& each : model.diagnosis.suppressed)
        add_issue(report, each.finding).suppressed_because = &each.reason;
  }

  void add_tree(const Report& report, const DiagnosedFinding& diagnosed, const Finding* cause) {
    Issue& issue = add_issue(report, diagnosed.finding);
    issue.diagnosed = &diagnosed;
    issue.cause = cause;
    for (const DiagnosedFinding& one : diagnosed.consequences) add_tree(report, one, &diagnosed.finding);
  }

  Issue& add_issue(const Report& report, const Finding& finding) {
    Issue issue;
    issue.report = &report;
    issue.finding = &finding;
    issue.where = subject_label(finding.subject, several_models_);
    if (issue.where.empty()) issue.where = "whole run";
    std::vector<std::string> identity{finding.rule, finding.subject.model, finding.subject.module,
                                      finding.subject.name};
    if (several_runs_) identity.push_back(report.run);
    // A rule seldom says two things about one subject; then they are numbered.
    const std::size_t earlier = seen_[identity]++;
    if (earlier > 0) identity.push_back(fmt::format("{}", earlier));
    issue.fingerprint = gradhealth::fingerprint(identity);
    issues_.push_back(std::move(issue));
    return issues_.back();
  }

  bool several_runs_;
  bool several_models_ = false;
  std::map<std::vector<std::string>, std::size_t> seen_;
  std::vector<Issue> issues_;
};

}  // namespace

std::string fingerprint(const std::vector<std::string>& identity) {
  // FNV-1a, 64 bits: std::hash may differ between machines.
  std::uint64_t value = 0xcbf29ce484222325u;
  const auto add = [&](unsigned char byte) { value = (value ^ byte) * 0x100000001b3u; };
  for (const std::string& word : identity) {
    for (const char c : word) add(static_cast<unsigned char>(c));
    add(0);
  }
  return fmt::format("{:016x}", value);
}

std::vector<Issue> issues(const std::vector<Report>& reports) { return Lister(reports).take(); }

std::vector<Issue> issues_by_importance(const std::vector<Report>& reports) {
  std::vector<Issue> all = issues(reports);
  all.erase(std::remove_if(all.begin(), all.end(), [](const Issue& issue) { return issue.suppressed_because; }),
            all.end());
  std::stable_sort(all.begin(), all.end(), [](const Issue& a, const Issue& b) {
    if (a.finding->severity != b.finding->severity) return a.finding->severity > b.finding->severity;
    return a.cause == nullptr && b.cause != nullptr;
  });
  return all;
}

std::vector<Undecided> undecided(const std::vector<Report>& reports, const GateOptions& options) {
  std::vector<Undecided> found;
  for (const Report& report : reports) {
    if (report.models.empty()) found.push_back({&report, "", "nothing was recorded", options.allow_undecided});
    for (const ModelReport& model : report.models) {
      const std::string reason = undecided_because(model);
      if (reason.empty()) continue;
      const bool seen_enough = model.diagnosis.verdict != Verdict::kUndecided || options.allow_undecided;
      found.push_back({&report, report.models.size() > 1 ? model_name(model) : "", reason,
                       seen_enough && (model.finished || options.allow_incomplete)});
    }
  }
  return found;
}

std::string location_path(const Report& report, const CiOptions& options) {
  const std::filesystem::path path = options.source.empty() ? report.run : options.source;
  std::string text = path.lexically_normal().generic_string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text.empty() ? "." : text;
}

}  // namespace gradhealth
