#include <array>
#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <gradhealth/report.h>

#include "report/escape.h"
#include "report/issues.h"

namespace gradhealth {
namespace {

/// GitHub shows no more of each kind that a step makes.
constexpr std::size_t kMost = 10;

/// The runner cuts what is longer than 4,096 characters, and the checks of GitHub titles of more than 255.
constexpr std::size_t kLongestText = 3500;
constexpr std::size_t kLongestTitle = 200;

/// As @actions/core writes them (packages/core/src/command.ts).
std::string escaped(std::string_view text, std::string_view also) {
  std::string out;
  for (const char c : printable_text(text)) {
    if (c == '%' || c == '\r' || c == '\n' || also.find(c) != std::string_view::npos)
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    else
      out += c;
  }
  return out;
}
std::string message_data(std::string_view text) { return escaped(text, ""); }
std::string property_value(std::string_view text) { return escaped(printable(text), ":,"); }

struct Annotation {
  std::string title;
  std::string place;  ///< ",file=…,line=…", or nothing.
  std::string text;
};

/// Errors, warnings and notices.
using Annotations = std::array<std::vector<Annotation>, 3>;
constexpr std::array<const char*, 3> kCommands{"error", "warning", "notice"};

std::vector<Annotation>& of(Annotations& all, Severity severity) {
  return all[severity == Severity::kError ? 0 : severity == Severity::kWarning ? 1 : 2];
}

std::string place(const Report& report, const CiOptions& options) {
  if (options.source.empty()) return {};
  return fmt::format(",file={},line={}", property_value(location_path(report, options)), options.line);
}

Annotation annotation(const Issue& issue, const CiOptions& options) {
  const Finding& f = *issue.finding;
  std::string text = fmt::format("{}: {}, {}\n{}", issue.report->run, issue.where, step_range(f), f.message);
  if (issue.cause != nullptr) text += "\nCaused by: " + rule_title(issue.cause->rule) + " [" + issue.cause->rule + "]";
  if (!f.recommendations.empty()) text += "\nFix: " + advice_text(f.recommendations.front());
  return {fmt::format("{} [{}]", rule_title(f.rule), f.rule), place(*issue.report, options), text};
}

Annotations collect(const std::vector<Report>& reports, const CiOptions& options) {
  Annotations all;
  for (const Undecided& each : undecided(reports, options.gate))
    of(all, each.accepted ? Severity::kInfo : Severity::kError)
        .push_back(
            {"Run is undecided", place(*each.report, options),
             each.report->run + (each.model.empty() ? "" : ": " + each.model) + ": undecided because " + each.reason});
  for (const Issue& issue : issues_by_importance(reports))
    of(all, issue.finding->severity).push_back(annotation(issue, options));
  return all;
}

}  // namespace

void write_github(std::ostream& out, const std::vector<Report>& reports, const CiOptions& options) {
  const Annotations all = collect(reports, options);
  for (std::size_t kind = 0; kind < all.size(); ++kind) {
    const std::vector<Annotation>& list = all[kind];
    for (std::size_t i = 0; i < list.size() && i < kMost; ++i) {
      std::string text = shortened(list[i].text, kLongestText);
      if (i + 1 == kMost && list.size() > kMost)
        text += fmt::format("\n{} more {}s are not annotated, since GitHub shows ten of a step.", list.size() - kMost,
                            kCommands[kind]);
      out << fmt::format("::{} title=gradhealth%3A {}{}::{}\n", kCommands[kind],
                         property_value(shortened(list[i].title, kLongestTitle)), list[i].place, message_data(text));
    }
  }
}

void write_github_text(std::ostream& out, std::string_view text) {
  std::string token = "gradhealth-end";
  for (std::size_t i = 2; text.find(token) != std::string_view::npos; ++i) token = fmt::format("gradhealth-end-{}", i);
  out << "::stop-commands::" << token << '\n' << text;
  if (!text.empty() && text.back() != '\n') out << '\n';
  out << "::" << token << "::\n";
}

}  // namespace gradhealth
