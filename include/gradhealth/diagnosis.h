#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gradhealth/rules.h>
#include <gradhealth/run.h>

/// Runs the rules over a run and orders their findings into causes and consequences.
namespace gradhealth {

/// What a configuration changes about a rule.
struct RuleSettings {
  bool enabled = true;
  std::optional<Severity> severity;  ///< Caps nothing, raises nothing: replaces every finding's severity.
  RuleOptions options;
  /// Globs. Findings about a module, parameter, activation or feature are kept only if one of these matches its name or
  /// its module's; findings about the run as a whole always are. Empty: everything is kept.
  std::vector<std::string> subjects;
};

/// Findings that somebody has looked at and accepts. They are kept apart, with the reason, and count for nothing.
struct Suppression {
  std::string rule;
  std::string subject = "*";  ///< Glob, matched as RuleSettings::subjects; "*" also matches the run as a whole.
  std::string reason;         ///< Never empty.
  std::string expires;        ///< Last day on which it holds, "2027-01-31"; empty: it does not expire.
};

struct DiagnosisOptions {
  std::map<std::string, RuleSettings> rules;  ///< By rule id; what is not there has its defaults.
  std::vector<Suppression> suppressions;
  std::string today;  ///< "2026-11-25": earlier suppressions have expired. Empty: none has.
};

enum class Verdict : std::uint8_t { kHealthy, kUnhealthy, kUndecided };

/// "healthy", "unhealthy", "undecided".
std::string_view name(Verdict verdict);

/// A finding with what it led to.
struct DiagnosedFinding {
  Finding finding;
  std::vector<DiagnosedFinding> consequences;
};

struct SkippedRule {
  std::string rule;
  std::string reason;
};

struct SuppressedFinding {
  Finding finding;
  std::string reason;
};

struct Diagnosis {
  /// Unhealthy: at least one error. Undecided: no error, and too little was seen to say more
  /// (`undecided_because`). Healthy runs may carry warnings.
  Verdict verdict = Verdict::kUndecided;
  std::string undecided_because;
  std::int64_t steps = 0;               ///< Recorded steps judged.
  std::vector<DiagnosedFinding> roots;  ///< Most important first.
  std::vector<std::string> passed;      ///< Rule ids, sorted.
  std::vector<SkippedRule> not_evaluated;
  std::vector<SuppressedFinding> suppressed;
  std::vector<Suppression> expired;  ///< Suppressions that would have applied but for their date.
};

/// Feeds every enabled rule's judge. Not thread-safe; movable.
class Diagnoser {
 public:
  /// @throws UsageError for a rule or an option that does not exist, or a suppression without a reason.
  explicit Diagnoser(const DiagnosisOptions& options = {}, const std::vector<Rule>& rules = catalogue());
  ~Diagnoser();
  Diagnoser(Diagnoser&&) noexcept;
  Diagnoser& operator=(Diagnoser&&) noexcept;

  void observe(const Run& run, const StepRecord& record);
  /// Findings of rules whose alarms grew since the last call, each rule and subject once (again if it
  /// became more severe).
  std::vector<Finding> new_findings();
  Diagnosis diagnosis() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gradhealth
