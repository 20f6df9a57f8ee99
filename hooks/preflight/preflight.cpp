#include <algorithm>
#include <chrono>
#include <ostream>
#include <string>
#include <utility>

#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include <gradhealth/hooks_preflight.h>

#include "hooks/preflight/judgement.h"
#include "hooks/preflight/one_pass.h"
#include "hooks/preflight/preflight_rules.h"

namespace gradhealth {
namespace {

bool beyond_information(const std::vector<DiagnosedFinding>& findings) {
  return std::any_of(findings.begin(), findings.end(), [](const DiagnosedFinding& each) {
    return each.finding.severity > Severity::kInfo || beyond_information(each.consequences);
  });
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
  text += fmt::format(" (one pass, shown to the rules as {} steps; {:.2f} s)\n", hooks::kShownSteps, seconds);
  for (const DiagnosedFinding& each : diagnosis.roots) append(each, "  ", text);
  return text;
}

std::ostream& operator<<(std::ostream& out, const PreflightReport& report) { return out << report.text(); }

PreflightReport preflight(torch::nn::Module& model, const std::function<at::Tensor()>& loss,
                          const PreflightOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  Diagnoser diagnoser = hooks::preflight_diagnoser(options.diagnosis, catalogue());
  PreflightReport report;
  report.diagnosis = hooks::judge(hooks::look_once(model, loss), std::move(diagnoser));
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace gradhealth
