#include <algorithm>
#include <exception>
#include <map>
#include <stdexcept>
#include <tuple>

#include <fmt/format.h>

#include <gradhealth/diagnosis.h>
#include <gradhealth/errors.h>

#include "diagnosis/links.h"
#include "diagnosis/suppressions.h"

namespace gradhealth {
namespace {

struct Seat {
  RuleInfo info;
  std::unique_ptr<Judge> judge;
  std::optional<Severity> severity;
  std::vector<std::string> subjects;
  std::size_t alarms_told = 0;
};

std::vector<RuleInfo> infos(const std::vector<Rule>& rules) {
  std::vector<RuleInfo> all;
  for (const Rule& rule : rules) all.push_back(rule.info);
  return all;
}

}  // namespace

std::string_view name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kHealthy: return "healthy";
    case Verdict::kUnhealthy: return "unhealthy";
    case Verdict::kUndecided: return "undecided";
  }
  return "";
}

class Diagnoser::Impl {
 public:
  Impl(const DiagnosisOptions& options, const std::vector<Rule>& rules)
      : causality_(infos(rules)), suppressions_(options, rules) {
    for (const auto& [id, settings] : options.rules)
      if (find_rule(rules, id) == nullptr) throw UsageError(fmt::format("there is no rule \"{}\"", id));
    for (const Rule& rule : rules) {
      const auto found = options.rules.find(rule.info.id);
      const RuleSettings settings = found == options.rules.end() ? RuleSettings{} : found->second;
      // Made even when disabled: a wrong option is told either way.
      auto judge = rule.make_judge(settings.options);
      if (settings.enabled) seats_.push_back({rule.info, std::move(judge), settings.severity, settings.subjects});
    }
    std::sort(seats_.begin(), seats_.end(), [](const Seat& a, const Seat& b) { return a.info.id < b.info.id; });
  }

  void observe(const Run& run, const StepRecord& record) {
    if (steps_ == 0) model_ = run.info.name;
    ++steps_;
    for (Seat& seat : seats_) {
      try {
        seat.judge->observe(run, record);
      } catch (const std::exception& error) {
        throw std::runtime_error(fmt::format("the rule {} failed: {}", seat.info.id, error.what()));
      }
    }
  }

  std::vector<Finding> new_findings() {
    std::vector<Finding> fresh;
    for (Seat& seat : seats_) {
      const std::size_t alarms = seat.judge->alarms();
      if (alarms == seat.alarms_told) continue;
      seat.alarms_told = alarms;
      const Outcome outcome = seat.judge->outcome();
      const auto* unhealthy = std::get_if<Unhealthy>(&outcome);
      if (unhealthy == nullptr) continue;
      for (const Finding& finding : unhealthy->findings) {
        if (!diagnosis::concerns(seat.subjects, finding) || suppressions_.holding(finding)) continue;
        Finding adapted = adapt(seat, finding);
        const auto key = std::make_tuple(adapted.rule, adapted.subject.module, adapted.subject.name);
        const auto [told, is_new] = told_.emplace(key, adapted.severity);
        if (!is_new && told->second >= adapted.severity) continue;
        told->second = adapted.severity;
        fresh.push_back(std::move(adapted));
      }
    }
    // The first lines are what somebody reads: the worst first, and causes before what they led to.
    std::stable_sort(fresh.begin(), fresh.end(), [this](const Finding& a, const Finding& b) {
      return a.severity != b.severity ? a.severity > b.severity : causality_.upstream(a, b);
    });
    return fresh;
  }

  Diagnosis diagnosis() const {
    Diagnosis result;
    result.steps = static_cast<std::int64_t>(steps_);
    std::vector<Finding> findings;
    std::size_t essential = 0;
    std::size_t essential_judged = 0;
    bool error = false;
    for (const Seat& seat : seats_) {
      const Outcome outcome = seat.judge->outcome();
      essential += seat.info.essential ? 1 : 0;
      if (const auto* skipped = std::get_if<NotEvaluated>(&outcome)) {
        result.not_evaluated.push_back({seat.info.id, skipped->reason});
        continue;
      }
      essential_judged += seat.info.essential ? 1 : 0;
      const auto* unhealthy = std::get_if<Unhealthy>(&outcome);
      bool passed = true;
      for (const Finding& finding : unhealthy ? unhealthy->findings : std::vector<Finding>{}) {
        if (!diagnosis::concerns(seat.subjects, finding)) continue;
        passed = false;
        if (const Suppression* suppression = suppressions_.holding(finding)) {
          result.suppressed.push_back({adapt(seat, finding), suppression->reason});
          continue;
        }
        suppressions_.add_expired(finding, result.expired);
        findings.push_back(adapt(seat, finding));
        error = error || findings.back().severity == Severity::kError;
      }
      if (passed) result.passed.push_back(seat.info.id);
    }
    result.roots = diagnosis::link(std::move(findings), causality_);
    result.verdict = error ? Verdict::kUnhealthy : Verdict::kHealthy;
    if (error) return result;
    result.undecided_because = doubt(result, essential, essential_judged);
    if (!result.undecided_because.empty()) result.verdict = Verdict::kUndecided;
    return result;
  }

 private:
  Finding adapt(const Seat& seat, Finding finding) const {
    if (seat.severity) finding.severity = *seat.severity;
    if (finding.subject.model.empty()) finding.subject.model = model_;
    return finding;
  }

  std::string doubt(const Diagnosis& result, std::size_t essential, std::size_t judged) const {
    if (steps_ == 0) return "no steps were recorded";
    if (seats_.empty()) return "every rule is disabled";
    if (result.not_evaluated.size() == seats_.size())
      return fmt::format("no rule could be evaluated over {} steps; {}: {}", steps_, result.not_evaluated[0].rule,
                         result.not_evaluated[0].reason);
    if (essential == 0 || judged > 0) return {};
    std::string reasons;
    for (const SkippedRule& skipped : result.not_evaluated)
      for (const Seat& seat : seats_)
        if (seat.info.id == skipped.rule && seat.info.essential)
          reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", skipped.rule, skipped.reason);
    return fmt::format("no essential rule could be evaluated over {} steps ({})", steps_, reasons);
  }

  std::vector<Seat> seats_;
  diagnosis::Causality causality_;
  diagnosis::Suppressions suppressions_;
  std::size_t steps_ = 0;
  std::string model_;
  std::map<std::tuple<std::string, std::string, std::string>, Severity> told_;
};

Diagnoser::Diagnoser(const DiagnosisOptions& options, const std::vector<Rule>& rules)
    : impl_(std::make_unique<Impl>(options, rules)) {}
Diagnoser::~Diagnoser() = default;
Diagnoser::Diagnoser(Diagnoser&&) noexcept = default;
Diagnoser& Diagnoser::operator=(Diagnoser&&) noexcept = default;

void Diagnoser::observe(const Run& run, const StepRecord& record) { impl_->observe(run, record); }
std::vector<Finding> Diagnoser::new_findings() { return impl_->new_findings(); }
Diagnosis Diagnoser::diagnosis() const { return impl_->diagnosis(); }

}  // namespace gradhealth
