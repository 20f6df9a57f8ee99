#include "diagnosis/links.h"

#include <algorithm>
#include <optional>
#include <tuple>

namespace gradhealth::diagnosis {
namespace {

/// Onsets are estimates: two of the same event may differ by a few steps, and by the distance of recorded
/// steps, which grows with the length of the run.
std::int64_t onset_tolerance(std::int64_t step) { return 5 + step / 20; }

bool same_place(const std::string& a, const std::string& b) {
  if (a.empty() || b.empty() || a == b) return true;
  const auto inside = [](const std::string& outer, const std::string& inner) {
    return inner.size() > outer.size() && inner.compare(0, outer.size(), outer) == 0 && inner[outer.size()] == '.';
  };
  return inside(a, b) || inside(b, a);
}

DiagnosedFinding take_tree(std::vector<Finding>& findings, const std::vector<std::vector<std::size_t>>& children,
                           std::size_t index) {
  DiagnosedFinding node{std::move(findings[index]), {}};
  for (const std::size_t child : children[index]) node.consequences.push_back(take_tree(findings, children, child));
  return node;
}

}  // namespace

Causality::Causality(const std::vector<RuleInfo>& rules) {
  for (const RuleInfo& rule : rules) {
    effects_[rule.id] = rule.effects;
    for (const Effect& effect : rule.effects) leads_to_[rule.id].insert(effect.rule);
  }
  // Warshall's algorithm, a row at a time.
  for (const auto& [via, effects] : leads_to_) {
    const std::set<std::string> farther = effects;
    for (auto& [from, all] : leads_to_)
      if (all.count(via) != 0) all.insert(farther.begin(), farther.end());
  }
}

std::size_t Causality::effect_count(const std::string& rule) const {
  const auto found = effects_.find(rule);
  return found == effects_.end() ? 0 : found->second.size();
}

bool Causality::upstream(const Finding& a, const Finding& b) const {
  if (a.first_step != b.first_step) return a.first_step < b.first_step;
  if (effect_count(a.rule) != effect_count(b.rule)) return effect_count(a.rule) > effect_count(b.rule);
  return std::tie(a.rule, a.subject.module, a.subject.name) < std::tie(b.rule, b.subject.module, b.subject.name);
}

bool Causality::may_cause(const Finding& cause, const Finding& effect) const {
  // Information explains nothing that is worse than itself.
  if (cause.rule == effect.rule || (cause.severity == Severity::kInfo && effect.severity > Severity::kInfo))
    return false;
  const auto found = effects_.find(cause.rule);
  if (found == effects_.end()) return false;
  const auto declared = std::find_if(found->second.begin(), found->second.end(),
                                     [&](const Effect& each) { return each.rule == effect.rule; });
  if (declared == found->second.end()) return false;
  if (declared->reach == Reach::kSameModule && !same_place(cause.subject.module, effect.subject.module)) return false;
  if (upstream(cause, effect)) return true;
  // Where both can cause each other only the order of onsets tells which did; hence no tolerance, and no cycles.
  const auto back = leads_to_.find(effect.rule);
  if (back != leads_to_.end() && back->second.count(cause.rule) != 0) return false;
  return cause.first_step <= effect.first_step + onset_tolerance(effect.first_step);
}

std::vector<DiagnosedFinding> link(std::vector<Finding> findings, const Causality& causality) {
  std::sort(findings.begin(), findings.end(),
            [&](const Finding& a, const Finding& b) { return causality.upstream(a, b); });

  // The nearest cause is the one that is itself caused by the others, so that chains read as they happened;
  // between unrelated ones the more severe, then the later one.
  const auto nearer = [&](const Finding& a, const Finding& b) {
    if (causality.may_cause(b, a)) return true;
    if (causality.may_cause(a, b)) return false;
    if (a.severity != b.severity) return a.severity > b.severity;
    return a.first_step > b.first_step;
  };
  std::vector<std::optional<std::size_t>> parent(findings.size());
  for (std::size_t effect = 0; effect < findings.size(); ++effect)
    for (std::size_t cause = 0; cause < findings.size(); ++cause) {
      if (!causality.may_cause(findings[cause], findings[effect])) continue;
      if (!parent[effect] || nearer(findings[cause], findings[*parent[effect]])) parent[effect] = cause;
    }

  std::vector<std::vector<std::size_t>> children(findings.size());
  std::vector<Severity> worst(findings.size());
  for (std::size_t i = 0; i < findings.size(); ++i) {
    if (parent[i]) children[*parent[i]].push_back(i);
    for (std::optional<std::size_t> up = i; up; up = parent[*up])
      worst[*up] = std::max(worst[*up], findings[i].severity);
  }

  std::vector<std::size_t> roots;
  for (std::size_t i = 0; i < findings.size(); ++i)
    if (!parent[i]) roots.push_back(i);
  // Already in upstream order, which decides between equals.
  std::stable_sort(roots.begin(), roots.end(), [&](std::size_t a, std::size_t b) { return worst[a] > worst[b]; });
  std::vector<DiagnosedFinding> trees;
  for (const std::size_t root : roots) trees.push_back(take_tree(findings, children, root));
  return trees;
}

}  // namespace gradhealth::diagnosis
