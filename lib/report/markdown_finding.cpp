#include "report/markdown_finding.h"

#include <algorithm>
#include <cstddef>

#include <fmt/format.h>

#include "report/escape.h"

namespace gradhealth {
namespace {

constexpr std::size_t kMostConsequences = 100;
constexpr std::size_t kLongestText = 4000;  ///< Bytes; for names and sentences that a rule would never make.
constexpr std::size_t kLongestCode = 20000;

std::string prose(const std::string& text) { return markdown(shortened(text, kLongestText)); }
std::string code(const std::string& text) { return markdown_code(shortened(text, kLongestText)); }

/// A table splits its cells at every bar, in code as well, unless a backslash stands before it.
std::string code_cell(const std::string& text) {
  std::string out;
  for (const char c : code(text)) c == '|' ? out += "\\|" : out += c;
  return out;
}

std::string where(const Finding& f, bool several_models) {
  const std::string label = subject_label(f.subject, several_models);
  return label.empty() ? "whole run" : code(label);
}

std::string code_block(const std::string& text) {
  const std::string lines = printable_text(shortened(text, kLongestCode));
  std::size_t longest = 2, run = 0;
  for (const char c : lines) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(longest + 1, '`');
  return fence + "cpp\n" + lines + (lines.empty() || lines.back() != '\n' ? "\n" : "") + fence + "\n";
}

std::string evidence(const Finding& f) {
  if (f.evidence.empty()) return {};
  std::string text = "\n| evidence | of | observed | threshold |\n| --- | --- | --- | --- |\n";
  for (const Evidence& each : f.evidence)
    text +=
        fmt::format("| {} | {} | {} | {} {} |\n", prose(each.what), each.subject.empty() ? "" : code_cell(each.subject),
                    markdown(number(each.observed)), markdown(each.relation), markdown(number(each.threshold)));
  return text;
}

std::string fix(const Recommendation& advice, const char* label) {
  std::string text = fmt::format("\n**{}:** {}\n", label, prose(advice_text(advice)));
  if (!advice.why.empty()) text += "\n" + prose(advice.why) + "\n";
  if (!advice.code.empty()) text += "\n" + code_block(advice.code);
  return text;
}

std::string fixes(const Finding& f) {
  if (f.recommendations.empty()) return {};
  std::string text = fix(f.recommendations.front(), "Fix");
  if (f.recommendations.size() == 1) return text;
  text += "\n<details><summary>Other ways</summary>\n";
  for (std::size_t i = 1; i < f.recommendations.size(); ++i) text += fix(f.recommendations[i], "Or");
  return text + "\n</details>\n";
}

void list_consequences(const DiagnosedFinding& diagnosed, bool several_models, std::size_t depth, std::size_t& count,
                       std::string& text) {
  for (const DiagnosedFinding& one : diagnosed.consequences) {
    const Finding& f = one.finding;
    // Deeper lists become code in Markdown, and nobody reads them.
    const std::string indent(2 * std::min<std::size_t>(depth, 8), ' ');
    if (count++ < kMostConsequences)
      text += fmt::format("{}- {}: {} ({}), {}, {}\n", indent, name(f.severity), prose(rule_title(f.rule)),
                          code(f.rule), where(f, several_models), step_range(f));
    list_consequences(one, several_models, depth + 1, count, text);
  }
}

std::string consequences(const DiagnosedFinding& root, bool several_models) {
  std::size_t count = 0;
  std::string list;
  list_consequences(root, several_models, 0, count, list);
  if (count == 0) return {};
  if (count > kMostConsequences) list += fmt::format("- and {} more\n", count - kMostConsequences);
  return fmt::format("\n<details><summary>Led to {} more finding{}</summary>\n\n{}\n</details>\n", count,
                     count == 1 ? "" : "s", list);
}

}  // namespace

std::string markdown_heading(const DiagnosedFinding& root, bool several_models) {
  const Finding& f = root.finding;
  const std::string confidence = f.confidence < 0.995 ? fmt::format(", confidence {:.0f} %", 100 * f.confidence) : "";
  return fmt::format("\n### {}: {} ({})\n\n**{}**, {}{}\n", name(f.severity), prose(rule_title(f.rule)), code(f.rule),
                     where(f, several_models), step_range(f), confidence);
}

std::string markdown_finding(const DiagnosedFinding& root, bool several_models) {
  const Finding& f = root.finding;
  return markdown_heading(root, several_models) + "\n" + prose(f.message) + "\n" + evidence(f) + fixes(f) +
         consequences(root, several_models);
}

}  // namespace gradhealth
