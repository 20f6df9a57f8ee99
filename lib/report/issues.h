#pragma once

#include <string>
#include <vector>

#include "report/summary.h"

namespace gradhealth {

/// 16 hexadecimal digits that stand for these words, in this order: the same on every machine.
std::string fingerprint(const std::vector<std::string>& identity);

/// A finding as CI servers list them: flat, with an identity that the next training's finding shares.
struct Issue {
  const Report* report = nullptr;
  const Finding* finding = nullptr;
  const DiagnosedFinding* diagnosed = nullptr;      ///< With its consequences; null if it is suppressed.
  const Finding* cause = nullptr;                   ///< What led to it; null for a root and what is suppressed.
  const std::string* suppressed_because = nullptr;  ///< The suppression's reason; null if there is none.
  std::string where;                                ///< "G: conv1.weight", "whole run".
  std::string fingerprint;                          ///< 16 hexadecimal digits; no two issues share one.
};

/// Run by run the roots, most important first, each before its consequences; then what is suppressed. A fingerprint
/// depends on rule, model and subject, with several runs also on the run's name; never on steps or values. Everything
/// points into `reports`.
std::vector<Issue> issues(const std::vector<Report>& reports);

/// The issues without the suppressed ones, of the severest kind first, roots before consequences.
std::vector<Issue> issues_by_importance(const std::vector<Report>& reports);

/// A model that no verdict could be reached about.
struct Undecided {
  const Report* report = nullptr;
  std::string model;  ///< Empty where there is only one.
  std::string reason;
  bool accepted = false;  ///< The gate lets it pass.
};
std::vector<Undecided> undecided(const std::vector<Report>& reports, const GateOptions& options);

/// Where a CI server is to point: the source that was given, or the run's own path, normalised.
std::string location_path(const Report& report, const CiOptions& options);

}  // namespace gradhealth
