#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include <fmt/format.h>

#include <gradhealth/comparison.h>
#include <gradhealth/errors.h>

#include "comparison/figures.h"
#include "comparison/matching.h"
#include "report/summary.h"

namespace gradhealth {
namespace {

using compared::Figures;

constexpr double kErrorFactor = 3;
constexpr std::size_t kTimedSteps = 20;

Finding regression(const ModelReport& model, const char* rule, Severity severity, std::string message) {
  Finding finding;
  finding.rule = rule;
  finding.severity = severity;
  finding.confidence = 0.8;
  finding.subject.model = model.run.info.name;
  if (!model.plots.loss.first_step.empty()) {
    finding.first_step = model.plots.loss.first_step.front();
    finding.last_step = model.plots.loss.first_step.back();
  }
  finding.message = std::move(message);
  return finding;
}

Recommendation advice(const char* id, const char* text, const char* why) {
  Recommendation advice;
  advice.id = id;
  advice.text = text;
  advice.why = why;
  advice.confidence = 0.5;
  return advice;
}

/// A run whose loss is not finite in the end has none: the rules tell that.
void judge_loss(const ModelReport& model, const Figures& before, const Figures& now, const BaselineOptions& options,
                std::vector<Finding>& findings) {
  if (!before.final_loss || !before.first_loss || !now.final_loss) return;
  const double learnt = std::abs(*before.first_loss - *before.final_loss);
  const double noise = options.noise * std::hypot(before.loss_deviation, now.loss_deviation);
  const double tolerance = std::max(options.loss * learnt, noise);
  const double worse = *now.final_loss - *before.final_loss;
  if (!(worse > tolerance)) return;
  Finding finding = regression(
      model, "loss-regression", worse > kErrorFactor * tolerance ? Severity::kError : Severity::kWarning,
      fmt::format("The loss ends at {}, in the baseline at {}.", number(*now.final_loss), number(*before.final_loss)));
  finding.evidence.push_back({"final loss", *now.final_loss, *before.final_loss + tolerance, ">", Quantity::kLoss, ""});
  finding.recommendations.push_back(advice("compare-runs",
                                           "Look at what was changed since: gradhealth diff shows both runs.",
                                           "Everything that the run files know about settings is listed there."));
  findings.push_back(std::move(finding));
}

void judge_gradients(const ModelReport& model, const Figures& before, const Figures& now,
                     const BaselineOptions& options, std::vector<Finding>& findings) {
  if (!before.gradient_norm || !now.gradient_norm || !(*before.gradient_norm > 0) || !(*now.gradient_norm > 0)) return;
  const double factor = *now.gradient_norm / *before.gradient_norm;
  if (factor <= options.gradient_norm && factor >= 1 / options.gradient_norm) return;
  Finding finding = regression(model, "gradient-norm-regression", Severity::kWarning,
                               fmt::format("The median global gradient norm is {}, in the baseline {}.",
                                           number(*now.gradient_norm), number(*before.gradient_norm)));
  const bool up = factor > 1;
  finding.evidence.push_back({"global gradient norm over the baseline's", factor,
                              up ? options.gradient_norm : 1 / options.gradient_norm, up ? ">" : "<",
                              Quantity::kGlobalGradientNorm, ""});
  finding.recommendations.push_back(advice(
      "compare-gradient-flow", "Look for the layer whose gradients have changed most: gradhealth diff lists them.",
      "A changed input scale, initialisation or loss reduction changes all of them by one factor."));
  findings.push_back(std::move(finding));
}

void judge_step_time(const ModelReport& model, const Figures& before, const Figures& now,
                     const BaselineOptions& options, std::vector<Finding>& findings) {
  if (!before.step_time || !now.step_time || !(*before.step_time > 0)) return;
  if (std::min(before.timed_steps, now.timed_steps) < kTimedSteps) return;
  const double factor = *now.step_time / *before.step_time;
  if (!(factor > options.step_time)) return;
  Finding finding = regression(
      model, "step-time-regression", Severity::kWarning,
      fmt::format("A step takes {} s, in the baseline {} s.", number(*now.step_time), number(*before.step_time)));
  finding.evidence.push_back(
      {"step time over the baseline's", factor, options.step_time, ">", Quantity::kStepTime, ""});
  finding.recommendations.push_back(
      advice("profile-step", "Time the parts of a step, on the machine that the baseline ran on.",
             "Another machine, other work on it, a larger batch and a slower data loader all show as longer steps."));
  findings.push_back(std::move(finding));
}

/// By rule and subject, the highest severity.
std::map<std::string, Severity> known_findings(const Diagnosis& baseline) {
  std::map<std::string, Severity> known;
  const auto add = [&](const Finding& finding) {
    const auto [entry, added] = known.emplace(compared::identity(finding), finding.severity);
    if (!added) entry->second = std::max(entry->second, finding.severity);
  };
  for (const Finding& finding : compared::all_findings(baseline)) add(finding);
  for (const SuppressedFinding& each : baseline.suppressed) add(each.finding);
  return known;
}

/// Takes what is known out of the tree; what it has led to and is new takes its place.
std::vector<DiagnosedFinding> only_new(std::vector<DiagnosedFinding> findings,
                                       const std::map<std::string, Severity>& known, const std::string& reason,
                                       std::vector<SuppressedFinding>& suppressed) {
  std::vector<DiagnosedFinding> kept;
  for (DiagnosedFinding& each : findings) {
    each.consequences = only_new(std::move(each.consequences), known, reason, suppressed);
    const auto entry = known.find(compared::identity(each.finding));
    if (entry == known.end() || each.finding.severity > entry->second) {
      kept.push_back(std::move(each));
      continue;
    }
    for (DiagnosedFinding& consequence : each.consequences) kept.push_back(std::move(consequence));
    suppressed.push_back({std::move(each.finding), reason});
  }
  return kept;
}

bool has_error(const std::vector<DiagnosedFinding>& findings) {
  return std::any_of(findings.begin(), findings.end(), [](const DiagnosedFinding& each) {
    return each.finding.severity == Severity::kError || has_error(each.consequences);
  });
}

void judge(ModelReport& model, const ModelReport& baseline, const std::string& name, const BaselineOptions& options) {
  Diagnosis& diagnosis = model.diagnosis;
  diagnosis.roots = only_new(std::move(diagnosis.roots), known_findings(baseline.diagnosis),
                             "also in the baseline " + name, diagnosis.suppressed);
  const Figures before = compared::figures_of(baseline.plots);
  const Figures now = compared::figures_of(model.plots);
  std::vector<Finding> worse;
  judge_loss(model, before, now, options, worse);
  judge_gradients(model, before, now, options, worse);
  judge_step_time(model, before, now, options, worse);
  for (Finding& finding : worse) diagnosis.roots.push_back({std::move(finding), {}});
  std::stable_sort(diagnosis.roots.begin(), diagnosis.roots.end(),
                   [](const auto& a, const auto& b) { return a.finding.severity > b.finding.severity; });
  if (has_error(diagnosis.roots))
    diagnosis.verdict = Verdict::kUnhealthy;
  else if (diagnosis.verdict == Verdict::kUnhealthy)
    diagnosis.verdict = diagnosis.undecided_because.empty() ? Verdict::kHealthy : Verdict::kUndecided;
}

}  // namespace

Report against_baseline(Report report, const Report& baseline, const BaselineOptions& options) {
  bool any = report.models.empty();
  const std::size_t models = report.models.size();
  for (ModelReport& model : report.models) {
    const ModelReport* counterpart = compared::counterpart(baseline, model, models);
    if (!counterpart) continue;  // A new model has nothing to be compared with.
    any = true;
    judge(model, *counterpart, baseline.run, options);
  }
  if (!any)
    throw UsageError(fmt::format("{} has none of the models of {}: it cannot be its baseline", printable(baseline.run),
                                 printable(report.run)));
  return report;
}

}  // namespace gradhealth
