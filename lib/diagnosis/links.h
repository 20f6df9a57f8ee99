#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gradhealth/diagnosis.h>

namespace gradhealth::diagnosis {

/// Which pathology can cause which, from the rules' declarations.
class Causality {
 public:
  explicit Causality(const std::vector<RuleInfo>& rules);

  /// Whether `cause` can have led to `effect`: declared, begun no later, in a place that fits.
  bool may_cause(const Finding& cause, const Finding& effect) const;
  /// Total order of findings by how far upstream they are: onset, then the rule that can cause more, then
  /// the rule's id, then the subject.
  bool upstream(const Finding& a, const Finding& b) const;

 private:
  std::map<std::string, std::vector<Effect>> effects_;
  std::map<std::string, std::set<std::string>> leads_to_;  ///< Transitive.
  std::size_t effect_count(const std::string& rule) const;
};

/// Nests every finding below its nearest cause; roots by the worst severity in their tree, then onset.
std::vector<DiagnosedFinding> link(std::vector<Finding> findings, const Causality& causality);

}  // namespace gradhealth::diagnosis
