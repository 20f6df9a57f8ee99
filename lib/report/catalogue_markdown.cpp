#include <ostream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <gradhealth/report.h>

#include "report/summary.h"

namespace gradhealth {
namespace {

std::string anchor(const std::string& rule) { return fmt::format("[`{0}`](#{0})", rule); }

void write_section(std::ostream& out, const RuleInfo& rule) {
  out << fmt::format("\n## {}\n\n**{}.** {}\n\n**How it is judged.** {}\n\n**Limits.** {}\n", rule.id, rule.title,
                     rule.meaning, rule.method, rule.limits);
  if (!rule.effects.empty()) {
    std::string effects;
    for (const Effect& effect : rule.effects) effects += (effects.empty() ? "" : ", ") + anchor(effect.rule);
    out << fmt::format("\n**Can cause** {}.\n", effects);
  }
  if (!rule.options.empty()) out << "\n| option | default | meaning | source |\n| --- | --- | --- | --- |\n";
  for (const OptionInfo& option : rule.options)
    out << fmt::format("| `{}` | {} | {} | {} |\n", option.name, number(option.default_value), option.meaning,
                       option.source);
  if (!rule.references.empty()) out << "\nReferences:\n\n";
  for (const std::string& reference : rule.references) out << "- " << reference << '\n';
}

}  // namespace

void write_rules_markdown(std::ostream& out, const std::vector<Rule>& rules) {
  out << "# The rules\n\nMade by `gradhealth rules --markdown`. ★: at least one of these must be evaluated for a "
         "verdict.\n\n| rule | finds | |\n| --- | --- | --- |\n";
  for (const Rule& rule : rules)
    out << fmt::format("| {} | {} | {} |\n", anchor(rule.info.id), rule.info.title, rule.info.essential ? "★" : "");
  for (const Rule& rule : rules) write_section(out, rule.info);
}

}  // namespace gradhealth
