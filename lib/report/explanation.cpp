#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <gradhealth/report.h>

#include "report/escape.h"
#include "report/style.h"
#include "report/summary.h"
#include "report/wrap.h"

namespace gradhealth {
namespace {

std::size_t usable(const TerminalOptions& options) { return std::max<std::size_t>(options.width, 40); }

std::string section(const Style& style, const char* title, const std::string& text, std::size_t width) {
  if (text.empty()) return {};
  return '\n' + style.bold(title) + '\n' + wrap(printable_text(text), width, "  ", "  ");
}

std::string effects(const RuleInfo& rule) {
  std::string list;
  for (const Effect& effect : rule.effects) {
    list += (list.empty() ? "" : ", ") + effect.rule;
    if (effect.reach == Reach::kSameModule) list += " (in the same module)";
  }
  return list;
}

}  // namespace

void write_explanation(std::ostream& out, const RuleInfo& rule, const TerminalOptions& options) {
  const Style style(options.colour);
  const std::size_t width = usable(options);
  out << style.bold(rule.title) << "  [" << rule.id << "]\n";
  if (rule.essential) out << "  Essential: a run for which no such rule could be evaluated is undecided.\n";
  out << section(style, "What it is", rule.meaning, width);
  out << section(style, "How it is judged", rule.method, width);
  out << section(style, "Limits", rule.limits, width);
  out << section(style, "Can cause", effects(rule), width);
  if (!rule.options.empty()) out << '\n' << style.bold(fmt::format("Options, in [rules.{}]", rule.id)) << '\n';
  for (const OptionInfo& option : rule.options) {
    out << wrap(fmt::format("{} = {}", option.name, number(option.default_value)), width, "    ", "  ");
    out << wrap(printable_text(option.meaning), width, "      ", "      ");
    if (!option.source.empty())
      out << style.dim(wrap("Source: " + printable_text(option.source), width, "      ", "      "));
  }
  if (!rule.references.empty()) out << '\n' << style.bold("References") << '\n';
  for (const std::string& reference : rule.references) out << wrap(printable_text(reference), width, "    ", "  - ");
}

void write_rule_list(std::ostream& out, const std::vector<Rule>& rules, const TerminalOptions& options) {
  const Style style(options.colour);
  std::size_t longest = 0;
  for (const Rule& rule : rules) longest = std::max(longest, rule.info.id.size());
  for (const Rule& rule : rules) {
    const std::string padding(longest - rule.info.id.size() + 2, ' ');
    out << style.bold(rule.info.id) << padding << rule.info.title << (rule.info.essential ? " *" : "") << '\n';
  }
  out << "\n* Essential: at least one of these must be evaluated for a verdict.\n";
}

}  // namespace gradhealth
