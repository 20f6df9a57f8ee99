#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gradhealth/run.h>

/// Rules: one pathology each, judged step by step from a run's record.
namespace gradhealth {

enum class Severity : std::uint8_t { kInfo, kWarning, kError };

/// "info", "warning", "error".
std::string_view name(Severity severity);

/// What a finding is about. All empty: the run as a whole.
struct SubjectRef {
  std::string model;   ///< RunInfo::name of the run file.
  std::string module;  ///< Module path.
  std::string name;    ///< Parameter, activation or feature.
};

/// One number against its threshold.
struct Evidence {
  std::string what;     ///< Names the number: "RMS of the input".
  double observed = 0;  ///< May be NaN or infinite where that is the point.
  double threshold = 0;
  std::string relation;              ///< How observed stands to threshold: ">", "<", "≥", "≤", "=".
  std::optional<Quantity> quantity;  ///< The series to plot, if there is one, …
  std::string subject;               ///< … and whose.
};

/// One step to take. `code` compiles against LibTorch.
struct Recommendation {
  std::string id;    ///< Stable, kebab-case: "normalize-input".
  std::string text;  ///< One imperative sentence.
  std::string why;
  std::string code;       ///< LibTorch C++ with this run's numbers.
  double confidence = 1;  ///< 0 … 1. Below 0.5: a guess, and the text says so.
  /// The numbers in `code`, for programs: {"mean", {0.286}}.
  std::vector<std::pair<std::string, std::vector<double>>> values;
};

struct Finding {
  std::string rule;
  Severity severity = Severity::kWarning;
  double confidence = 1;  ///< 0 … 1.
  SubjectRef subject;
  std::int64_t first_step = 0;  ///< Onset, not the step at which it was noticed.
  std::int64_t last_step = 0;
  std::string message;                          ///< One or two sentences with the numbers of this run.
  std::vector<Evidence> evidence;               ///< Never empty.
  std::vector<Recommendation> recommendations;  ///< Best first; never empty.
};

struct Healthy {};
struct Unhealthy {
  std::vector<Finding> findings;  ///< Never empty; most severe and earliest first.
};
struct NotEvaluated {
  std::string reason;
};
using Outcome = std::variant<Healthy, Unhealthy, NotEvaluated>;

/// Options by name; what is not there has its default.
using RuleOptions = std::map<std::string, double>;

/// Judges one run for one rule. Bounded memory, one pass; the same object live and offline.
class Judge {
 public:
  virtual ~Judge() = default;
  /// Takes in the next recorded step. `run` may have gained subjects since the last call. No allocation
  /// once every subject has been seen.
  virtual void observe(const Run& run, const StepRecord& record) = 0;
  /// The judgement on everything observed so far.
  virtual Outcome outcome() const = 0;
  /// Grows whenever outcome() may have a new finding; cheap, so that a live monitor asks every step.
  virtual std::size_t alarms() const = 0;
};

struct OptionInfo {
  std::string name;  ///< kebab-case.
  double default_value = 0;
  std::string meaning;  ///< With unit.
  std::string source;   ///< Where the default comes from.
};

/// Where a consequence may show itself.
enum class Reach : std::uint8_t { kAnywhere, kSameModule };

struct Effect {
  std::string rule;
  Reach reach = Reach::kAnywhere;
};

/// Everything there is to say about a rule; `explain`, reports and the README come from it.
struct RuleInfo {
  std::string id;       ///< kebab-case; names the pathology and the rule's source file.
  std::string title;    ///< "Input is not normalised".
  std::string meaning;  ///< What it is and why it matters, a paragraph.
  std::string method;   ///< How it is judged, a paragraph.
  std::string limits;   ///< Healthy runs that look alike; what it cannot see.
  std::vector<OptionInfo> options;
  std::vector<std::string> references;
  std::vector<Effect> effects;  ///< What this pathology can cause.
  bool essential = false;       ///< One of the ★ rules: a run for which none of these was evaluated is undecided.
};

struct Rule {
  RuleInfo info;
  /// @throws UsageError for an option that the rule does not have.
  std::function<std::unique_ptr<Judge>(const RuleOptions&)> make_judge;
};

/// A rule of one's own, for a copy of the catalogue: `look` sees one recorded step at a time and says what is wrong
/// with it, if something is. Of the findings about one subject the first is kept, with the severest one's severity and
/// the last one's last_step. `look` is called from judges on any thread; rule, first_step and last_step are filled in.
Rule make_rule(RuleInfo info, std::function<std::optional<Finding>(const Run&, const StepRecord&)> look);

/// All rules, sorted by id.
const std::vector<Rule>& catalogue();

/// The rule with this id, or nullptr.
const Rule* find_rule(const std::vector<Rule>& rules, const std::string& id);

}  // namespace gradhealth
