#include "report/summary.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <fmt/format.h>

namespace gradhealth {
namespace {

constexpr const char* kNotFinished =
    "the recording was not finished: the trainer is still running, died, or could not write";

bool more_important(const DiagnosedFinding& a, const DiagnosedFinding& b) {
  if (a.finding.severity != b.finding.severity) return a.finding.severity > b.finding.severity;
  return a.finding.first_step < b.finding.first_step;
}

/// Takes the most important of the heads again and again, so that each model keeps its own order.
std::vector<const DiagnosedFinding*> merged_roots(const Report& report) {
  std::vector<const DiagnosedFinding*> merged;
  std::vector<std::size_t> next(report.models.size(), 0);
  const auto head = [&](std::size_t model) { return &report.models[model].diagnosis.roots[next[model]]; };
  while (true) {
    std::size_t best = report.models.size();
    for (std::size_t i = 0; i < report.models.size(); ++i) {
      if (next[i] == report.models[i].diagnosis.roots.size()) continue;
      if (best == report.models.size() || more_important(*head(i), *head(best))) best = i;
    }
    if (best == report.models.size()) return merged;
    merged.push_back(head(best));
    ++next[best];
  }
}

void collect_rules(const DiagnosedFinding& found, std::set<std::string>& rules) {
  rules.insert(found.finding.rule);
  for (const DiagnosedFinding& consequence : found.consequences) collect_rules(consequence, rules);
}

void add_counts(const DiagnosedFinding& found, FindingCounts& counts) {
  switch (found.finding.severity) {
    case Severity::kError: ++counts.errors; break;
    case Severity::kWarning: ++counts.warnings; break;
    case Severity::kInfo: ++counts.infos; break;
  }
  for (const DiagnosedFinding& consequence : found.consequences) add_counts(consequence, counts);
}

void summarize_rules(const Report& report, Summary& summary) {
  std::set<std::string> all, found, skipped;
  std::map<std::string, std::size_t> passes;
  for (const ModelReport& model : report.models) {
    for (const DiagnosedFinding& root : model.diagnosis.roots) collect_rules(root, found);
    for (const SuppressedFinding& each : model.diagnosis.suppressed) found.insert(each.finding.rule);
    for (const std::string& rule : model.diagnosis.passed) ++passes[rule];
    for (const SkippedRule& rule : model.diagnosis.not_evaluated) {
      skipped.insert(rule.rule);
      summary.not_evaluated.push_back(
          {rule.rule, summary.several_models ? model_name(model) + ": " + rule.reason : rule.reason});
    }
  }
  std::stable_sort(summary.not_evaluated.begin(), summary.not_evaluated.end(),
                   [](const SkippedRule& a, const SkippedRule& b) { return a.rule < b.rule; });
  all.insert(found.begin(), found.end());
  all.insert(skipped.begin(), skipped.end());
  for (const auto& [rule, times] : passes) {
    all.insert(rule);
    if (times == report.models.size() && found.count(rule) == 0) summary.passed.push_back(rule);
  }
  summary.rules_total = all.size();
  summary.rules_evaluated = all.size() - skipped.size();
}

}  // namespace

std::string model_name(const ModelReport& model) {
  return model.run.info.name.empty() ? "unnamed model" : model.run.info.name;
}

std::string unfinished_ranks(const ModelReport& model) {
  if (model.unfinished_ranks.empty()) return {};
  std::string text = fmt::format(" ({}", model.unfinished_ranks.front());
  if (model.unfinished_ranks.size() > 1) text += fmt::format(", and {} more", model.unfinished_ranks.size() - 1);
  return text + ")";
}

std::string undecided_because(const ModelReport& model) {
  if (model.diagnosis.verdict == Verdict::kUnhealthy) return {};
  std::string reason;
  if (model.diagnosis.verdict == Verdict::kUndecided)
    reason = model.diagnosis.undecided_because.empty() ? "too little was seen" : model.diagnosis.undecided_because;
  if (model.finished) return reason;
  const std::string unfinished = kNotFinished + unfinished_ranks(model);
  return reason.empty() ? unfinished : reason + "; " + unfinished;
}

Summary summarize(const Report& report) {
  Summary summary;
  summary.verdict = verdict(report);
  summary.several_models = report.models.size() > 1;
  summary.roots = merged_roots(report);
  summarize_rules(report, summary);
  if (report.models.empty()) summary.undecided_because = "nothing was recorded";
  for (const ModelReport& model : report.models) {
    summary.steps += model.diagnosis.steps;
    summary.finished = summary.finished && model.finished;
    std::string reason = undecided_because(model);
    if (reason.empty() || summary.verdict != Verdict::kUndecided) continue;
    if (summary.several_models) reason.insert(0, model_name(model) + ": ");
    summary.undecided_because += (summary.undecided_because.empty() ? "" : "; ") + reason;
  }
  return summary;
}

std::string coverage(const Report& report) {
  const Summary summary = summarize(report);
  std::string text = fmt::format("{} of {} rules evaluated over {} recorded steps", summary.rules_evaluated,
                                 summary.rules_total, summary.steps);
  if (summary.several_models) text += fmt::format(" of {} models", report.models.size());
  return text;
}

std::string subject_label(const SubjectRef& subject, bool several_models) {
  const std::string& own = subject.name.empty() ? subject.module : subject.name;
  if (!several_models || subject.model.empty()) return own;
  return own.empty() ? subject.model : subject.model + ": " + own;
}

std::string upper(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) { return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c; });
  return out;
}

FindingCounts count(const std::vector<const DiagnosedFinding*>& roots) {
  FindingCounts counts;
  for (const DiagnosedFinding* root : roots) add_counts(*root, counts);
  return counts;
}

std::string rule_title(const std::string& rule) {
  const Rule* known = find_rule(catalogue(), rule);
  return known != nullptr && !known->info.title.empty() ? known->info.title : rule;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "infinity" : "-infinity";
  return fmt::format("{:.4g}", value);
}

std::string comparison(const Evidence& evidence) {
  return number(evidence.observed) + " " + evidence.relation + " " + number(evidence.threshold);
}

std::string advice_text(const Recommendation& advice) {
  const bool said = advice.text.find("guess") != std::string::npos;
  return advice.confidence < 0.5 && !said ? "A guess: " + advice.text : advice.text;
}

std::string counts_line(const Summary& summary) {
  const auto plural = [](std::size_t count, const char* word) {
    return fmt::format("{} {}{}", count, word, count == 1 ? "" : "s");
  };
  const FindingCounts counts = count(summary.roots);
  return plural(counts.errors, "error") + ", " + plural(counts.warnings, "warning") + ", " +
         plural(counts.infos, "note") + " from " + plural(summary.roots.size(), "root cause");
}

std::string step_range(const Finding& finding) {
  if (finding.first_step == finding.last_step) return fmt::format("at step {}", finding.first_step);
  return fmt::format("since step {}, until step {}", finding.first_step, finding.last_step);
}

}  // namespace gradhealth
