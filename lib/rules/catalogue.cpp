#include <gradhealth/rules.h>

namespace gradhealth {

std::string_view name(Severity severity) {
  switch (severity) {
    case Severity::kInfo: return "info";
    case Severity::kWarning: return "warning";
    case Severity::kError: return "error";
  }
  return "";
}

const std::vector<Rule>& catalogue() {
  static const std::vector<Rule> rules;
  return rules;
}

const Rule* find_rule(const std::vector<Rule>& rules, const std::string& id) {
  for (const Rule& rule : rules)
    if (rule.info.id == id) return &rule;
  return nullptr;
}

}  // namespace gradhealth
