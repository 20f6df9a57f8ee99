#pragma once

#include <string>
#include <vector>

#include <gradhealth/diagnosis.h>

namespace gradhealth::diagnosis {

/// Whether one of the globs matches what the finding is about; also if there are none, or it is about the run.
bool concerns(const std::vector<std::string>& globs, const Finding& finding);

class Suppressions {
 public:
  /// @throws UsageError for a rule that does not exist, a missing reason or a date that is none.
  Suppressions(const DiagnosisOptions& options, const std::vector<Rule>& rules);

  /// The first one that applies to this finding, or nullptr.
  const Suppression* holding(const Finding& finding) const;
  /// Those that would apply but have expired, each once.
  void add_expired(const Finding& finding, std::vector<Suppression>& to) const;

 private:
  std::vector<Suppression> holding_;
  std::vector<Suppression> expired_;
};

}  // namespace gradhealth::diagnosis
