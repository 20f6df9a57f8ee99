#include "comparison/curves.h"

#include <cmath>
#include <utility>

namespace gradhealth::test {

Report run_of(const Curves& curves, const std::string& name) {
  ModelReport model;
  model.run.info.optimizer = "SGD";
  model.run.of(Axis::kParameter) = {{"fc.weight", "fc", "weight", "3x2", "float32", 6},
                                    {"fc.bias", "fc", "bias", "3", "float32", 3}};
  PlotCollector plots;
  StepRecord record;
  for (int step = 0; step < curves.steps; ++step) {
    record.clear();
    record.step = step;
    const double loss = curves.loss(step);
    record.set(Quantity::kLoss, loss);
    record.set(Quantity::kLossNonfinite, std::isfinite(loss) ? 0 : 1);
    record.set(Quantity::kGlobalGradientNorm, curves.gradient_norm);
    record.set(Quantity::kStepTime, curves.step_time);
    record.set(Quantity::kLearningRate, 0.1);
    record.set(Quantity::kGradientNorm, 0, curves.gradient_norm);
    record.set(Quantity::kGradientNorm, 1, curves.gradient_norm / 2);
    plots.observe(model.run, record);
  }
  model.diagnosis.verdict = Verdict::kHealthy;
  model.diagnosis.steps = curves.steps;
  model.plots = plots.plots();
  Report report;
  report.run = name;
  report.models.push_back(std::move(model));
  return report;
}

Report run_with(std::vector<DiagnosedFinding> roots, const std::string& name) {
  Report report = run_of({}, name);
  report.models[0].diagnosis.roots = std::move(roots);
  report.models[0].diagnosis.verdict = Verdict::kUnhealthy;
  return report;
}

DiagnosedFinding found(const std::string& rule, Severity severity, const std::string& module, std::int64_t step) {
  Finding finding;
  finding.rule = rule;
  finding.severity = severity;
  finding.subject.module = module;
  finding.first_step = finding.last_step = step;
  finding.message = "Something.";
  finding.evidence = {{"number", 2, 1, ">", std::nullopt, ""}};
  finding.recommendations = {{"do-something", "Do something.", "", "", 1, {}}};
  return {finding, {}};
}

}  // namespace gradhealth::test
