#include <algorithm>
#include <chrono>
#include <limits>
#include <ostream>
#include <string>

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include <gradhealth/hooks_preflight.h>

#include "hooks/preflight/one_pass.h"
#include "hooks/preflight/preflight_rules.h"

namespace gradhealth {
namespace {

/// As many as the rules' judgements of a start ask for.
constexpr std::int64_t kSteps = 20;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

bool beyond_information(const std::vector<DiagnosedFinding>& findings) {
  return std::any_of(findings.begin(), findings.end(), [](const DiagnosedFinding& each) {
    return each.finding.severity > Severity::kInfo || beyond_information(each.consequences);
  });
}

/// A weight of zeros may get a gradient of zeros once, because what lies behind it starts at zero too: that it stays
/// so cannot be seen in one pass.
void forget_passing_zeros(StepRecord& row) {
  for (std::size_t i = 0; i < row.values(Quantity::kWeightNorm).size(); ++i)
    if (row.at(Quantity::kWeightNorm, i) == 0 && row.at(Quantity::kGradientNorm, i) == 0)
      row.set(Quantity::kGradientNorm, i, kNaN);
}

Diagnosis judge(hooks::OnePass pass, const DiagnosisOptions& options) {
  Diagnoser diagnoser(options, hooks::preflight_rules());
  forget_passing_zeros(pass.row);
  for (std::int64_t step = 0; step < kSteps; ++step) {
    pass.row.step = step;
    diagnoser.observe(pass.run, pass.row);
    // Each event and the loss once: a loss that was seen again and again would stand still.
    pass.row.events.clear();
    pass.row.set(Quantity::kLoss, kNaN);
    pass.row.set(Quantity::kLossNonfinite, kNaN);
  }
  return diagnoser.diagnosis();
}

void append(const DiagnosedFinding& diagnosed, const std::string& indent, std::string& text) {
  const Finding& finding = diagnosed.finding;
  const std::string& subject = finding.subject.name.empty() ? finding.subject.module : finding.subject.name;
  text += fmt::format("{}{} {}{}: {}\n", indent, name(finding.severity), finding.rule,
                      subject.empty() ? std::string() : " (" + subject + ")", finding.message);
  if (!finding.recommendations.empty()) text += fmt::format("{}  -> {}\n", indent, finding.recommendations[0].text);
  for (const DiagnosedFinding& consequence : diagnosed.consequences) append(consequence, indent + "  ", text);
}

}  // namespace

bool PreflightReport::healthy() const {
  return diagnosis.verdict == Verdict::kHealthy && !beyond_information(diagnosis.roots);
}

std::string PreflightReport::text() const {
  std::string text = fmt::format("preflight: {}", healthy()                                  ? "healthy"
                                                  : diagnosis.verdict == Verdict::kUndecided ? "undecided"
                                                                                             : "not healthy");
  if (!diagnosis.undecided_because.empty()) text += ", " + diagnosis.undecided_because;
  text += fmt::format(" (one pass, shown to the rules as {} steps; {:.2f} s)\n", kSteps, seconds);
  for (const DiagnosedFinding& each : diagnosis.roots) append(each, "  ", text);
  return text;
}

std::ostream& operator<<(std::ostream& out, const PreflightReport& report) { return out << report.text(); }

PreflightReport preflight(torch::nn::Module& model, const std::function<at::Tensor()>& loss,
                          const PreflightOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const DiagnosisOptions diagnosis = hooks::preflight_options(options.diagnosis);
  PreflightReport report;
  report.diagnosis = judge(hooks::look_once(model, loss), diagnosis);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace gradhealth
