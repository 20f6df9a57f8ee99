#include <algorithm>
#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <gradhealth/report.h>

#include "report/escape.h"
#include "report/markdown_finding.h"
#include "report/summary.h"

namespace gradhealth {
namespace {

/// Kept free for the line that tells what was left out.
constexpr std::size_t kReserve = 200;

/// Takes in blocks of text until one does not fit; from then on it counts what is left out.
class Page {
 public:
  Page(std::ostream& out, std::size_t max_bytes) : out_(out), room_(max_bytes - std::min(max_bytes, kReserve)) {}

  void add(const std::string& block) {
    if (left_out_ > 0 || block.size() > room_) {
      ++left_out_;
      return;
    }
    out_ << std::string_view(block).substr(empty_ && block.front() == '\n' ? 1 : 0);
    room_ -= block.size();
    empty_ = false;
  }

  /// The whole block, or the short one where the whole does not fit.
  void add(const std::string& block, const std::string& shorter) { add(block.size() <= room_ ? block : shorter); }

  void end() {
    if (left_out_ > 0)
      out_ << fmt::format("\n**Left out: {} more sections, since a summary may be no longer.** The report has them.\n",
                          left_out_);
  }

 private:
  std::ostream& out_;
  std::size_t room_;
  std::size_t left_out_ = 0;
  bool empty_ = true;
};

std::string headline(const Report& report, const Summary& summary) {
  std::string text = fmt::format("\n## gradhealth: {}, {}\n\n{}.", name(summary.verdict),
                                 markdown_code(shortened(report.run, 1000)), coverage(report));
  if (!summary.roots.empty()) text += " **" + counts_line(summary) + ".**";
  text += '\n';
  if (!summary.undecided_because.empty())
    text += "\nUndecided because " + markdown(shortened(summary.undecided_because, 4000)) + ".\n";
  else if (!summary.finished)
    text += "\nThe recording was not finished.\n";
  return text;
}

std::string suppressions(const Report& report) {
  std::string text;
  for (const ModelReport& model : report.models) {
    for (const SuppressedFinding& each : model.diagnosis.suppressed) {
      const std::string label = subject_label(each.finding.subject, report.models.size() > 1);
      text += fmt::format("- Suppressed: {}, {}: {}\n", markdown_code(each.finding.rule),
                          label.empty() ? "whole run" : markdown_code(label), markdown(each.reason));
    }
    for (const Suppression& each : model.diagnosis.expired)
      text += fmt::format("- Expired on {}: the suppression of {} ({})\n", markdown(each.expires),
                          markdown_code(each.rule), markdown(each.reason));
  }
  return text.empty() ? text : "\n" + text;
}

std::string passed(const Summary& summary) {
  if (summary.passed.empty()) return {};
  std::string list;
  for (const std::string& rule : summary.passed) list += (list.empty() ? "" : ", ") + markdown_code(rule);
  return fmt::format("\n<details><summary>Passed ({})</summary>\n\n{}\n\n</details>\n", summary.passed.size(), list);
}

std::string not_evaluated(const Summary& summary) {
  if (summary.not_evaluated.empty()) return {};
  std::string text = fmt::format("\n<details><summary>Not evaluated ({})</summary>\n\n", summary.not_evaluated.size());
  for (const SkippedRule& rule : summary.not_evaluated)
    text += fmt::format("- {}: {}\n", markdown_code(rule.rule), markdown(rule.reason));
  return text + "\n</details>\n";
}

}  // namespace

void write_markdown(std::ostream& out, const std::vector<Report>& reports, std::size_t max_bytes) {
  Page page(out, max_bytes);
  if (reports.size() > 1) page.add(fmt::format("# gradhealth: {}, {} runs\n", name(verdict(reports)), reports.size()));
  for (const Report& report : reports) {
    const Summary summary = summarize(report);
    page.add(headline(report, summary));
    for (const DiagnosedFinding* root : summary.roots)
      page.add(markdown_finding(*root, summary.several_models), markdown_heading(*root, summary.several_models));
    for (const std::string& block : {suppressions(report), passed(summary), not_evaluated(summary)})
      if (!block.empty()) page.add(block);
  }
  page.end();
}

}  // namespace gradhealth
