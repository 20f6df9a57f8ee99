#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <gradhealth/report.h>

namespace gradhealth {

/// The models of a run taken together, as every writer shows them.
struct Summary {
  Verdict verdict = Verdict::kUndecided;
  std::string undecided_because;
  bool finished = true;
  std::int64_t steps = 0;  ///< Over all models.
  bool several_models = false;
  std::vector<const DiagnosedFinding*> roots;  ///< Most important first; they live in the report.
  std::vector<std::string> passed;             ///< In every model; sorted.
  std::vector<SkippedRule> not_evaluated;      ///< With several models, the reason names the model.
  std::size_t rules_evaluated = 0;             ///< In every model.
  std::size_t rules_total = 0;
};

Summary summarize(const Report& report);

/// The model's name, or "unnamed model".
std::string model_name(const ModelReport& model);

/// " (rank 2 of 4, last seen at step 57, and 1 more)"; empty if there is none.
std::string unfinished_ranks(const ModelReport& model);

/// Why a model is not healthy though nothing speaks against it; empty if it is decided.
std::string undecided_because(const ModelReport& model);

/// "conv1.weight"; "G: conv1.weight" with several models; empty for the run as a whole.
std::string subject_label(const SubjectRef& subject, bool several_models);

/// In capitals, of ASCII letters.
std::string upper(std::string_view text);

/// Number of findings of each severity, consequences included.
struct FindingCounts {
  std::size_t errors = 0;
  std::size_t warnings = 0;
  std::size_t infos = 0;
};
FindingCounts count(const std::vector<const DiagnosedFinding*>& roots);

/// "2 errors, 0 warnings, 1 note from 1 root cause".
std::string counts_line(const Summary& summary);

/// The rule's title from the catalogue, or its id.
std::string rule_title(const std::string& rule);

/// Four significant digits; "NaN", "infinity", "-infinity".
std::string number(double value);

/// "115.3 > 10".
std::string comparison(const Evidence& evidence);

/// The sentence; that it is a guess is said where the rule did not say so itself.
std::string advice_text(const Recommendation& advice);

/// "since step 3, until step 99", "at step 3".
std::string step_range(const Finding& finding);

}  // namespace gradhealth
