#include <algorithm>
#include <vector>

#include <gradhealth/report.h>

namespace gradhealth {
namespace {

bool any_at_least(const std::vector<DiagnosedFinding>& found, Severity severity) {
  return std::any_of(found.begin(), found.end(), [&](const DiagnosedFinding& one) {
    return one.finding.severity >= severity || any_at_least(one.consequences, severity);
  });
}

/// Rank of a verdict from best to worst.
int badness(Verdict verdict) {
  switch (verdict) {
    case Verdict::kHealthy: return 0;
    case Verdict::kUndecided: return 1;
    case Verdict::kUnhealthy: return 2;
  }
  return 1;
}

bool acceptable(const ModelReport& model, const GateOptions& options) {
  if (model.diagnosis.verdict == Verdict::kUndecided && !options.allow_undecided) return false;
  return model.finished || options.allow_incomplete;
}

}  // namespace

Verdict verdict(const Report& report) {
  if (report.models.empty()) return Verdict::kUndecided;
  Verdict worst = Verdict::kHealthy;
  for (const ModelReport& model : report.models) {
    Verdict one = model.diagnosis.verdict;
    if (one == Verdict::kHealthy && (!model.finished || model.diagnosis.steps == 0)) one = Verdict::kUndecided;
    if (badness(one) > badness(worst)) worst = one;
  }
  return worst;
}

Verdict verdict(const std::vector<Report>& reports) {
  if (reports.empty()) return Verdict::kUndecided;
  Verdict worst = Verdict::kHealthy;
  for (const Report& report : reports)
    if (badness(verdict(report)) > badness(worst)) worst = verdict(report);
  return worst;
}

GateOutcome gate(const std::vector<Report>& reports, const GateOptions& options) {
  bool judged = !reports.empty();
  for (const Report& report : reports) {
    if (report.models.empty() && !options.allow_undecided) judged = false;
    for (const ModelReport& model : report.models) {
      if (any_at_least(model.diagnosis.roots, options.fail_on)) return GateOutcome::kFail;
      judged = judged && acceptable(model, options);
    }
  }
  return judged ? GateOutcome::kPass : GateOutcome::kCannotJudge;
}

}  // namespace gradhealth
