#include "comparison/matching.h"

#include <algorithm>

namespace gradhealth::compared {
namespace {

void collect(const DiagnosedFinding& diagnosed, std::vector<Finding>& findings) {
  findings.push_back(diagnosed.finding);
  for (const DiagnosedFinding& each : diagnosed.consequences) collect(each, findings);
}

}  // namespace

std::string identity(const Finding& finding) {
  return finding.rule + '\n' + finding.subject.module + '\n' + finding.subject.name;
}

std::vector<Finding> all_findings(const Diagnosis& diagnosis) {
  std::vector<Finding> findings;
  for (const DiagnosedFinding& root : diagnosis.roots) collect(root, findings);
  std::stable_sort(findings.begin(), findings.end(), [](const Finding& a, const Finding& b) {
    return a.severity != b.severity ? a.severity > b.severity : a.first_step < b.first_step;
  });
  return findings;
}

const ModelReport* counterpart(const Report& report, const ModelReport& model, std::size_t siblings) {
  for (const ModelReport& each : report.models)
    if (each.run.info.name == model.run.info.name) return &each;
  return siblings == 1 && report.models.size() == 1 ? &report.models.front() : nullptr;
}

}  // namespace gradhealth::compared
