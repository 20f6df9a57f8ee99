#include <algorithm>
#include <cctype>
#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <gradhealth/report.h>

#include "report/escape.h"
#include "report/style.h"
#include "report/summary.h"
#include "report/terminal_plots.h"
#include "report/wrap.h"

namespace gradhealth {
namespace {

constexpr const char* kIndent = "  ";

class Writer {
 public:
  Writer(std::ostream& out, const Report& report, const TerminalOptions& options)
      : out_(out),
        report_(report),
        summary_(summarize(report)),
        style_(options.colour),
        width_(std::max<std::size_t>(options.width, 40)),
        charset_(options.charset) {}

  void write() {
    headline();
    for (const DiagnosedFinding* root : summary_.roots) finding(*root);
    for (const ModelReport& model : report_.models) out_ << terminal_plots(model, summary_, width_, charset_);
    suppressions();
    rules();
  }

 private:
  void headline() {
    out_ << "gradhealth: " << style_.of(summary_.verdict, upper(name(summary_.verdict))) << "  " << shown(report_.run)
         << "  (" << coverage(report_) << ")\n";
    if (!summary_.undecided_because.empty()) out_ << wrapped("because " + summary_.undecided_because, kIndent, kIndent);
    if (!summary_.finished && summary_.verdict == Verdict::kUnhealthy)
      for (const ModelReport& model : report_.models)
        if (!model.finished)
          out_ << wrapped("The recording was not finished" + unfinished_ranks(model) + ".", kIndent, kIndent);
    if (summary_.roots.empty()) return;
    out_ << kIndent << counts_line(summary_) << '\n';
  }

  void finding(const DiagnosedFinding& diagnosed) {
    const Finding& f = diagnosed.finding;
    out_ << '\n'
         << style_.of(f.severity, upper(name(f.severity))) << "  " << style_.bold(shown(rule_title(f.rule))) << "  "
         << style_.dim("[" + shown(f.rule) + "]") << '\n';
    out_ << kIndent << style_.bold(where(f)) << ", " << step_range(f) << confidence(f.confidence) << '\n';
    out_ << wrapped(f.message, kIndent, kIndent);
    for (const Evidence& evidence : f.evidence) cite(evidence);
    for (std::size_t i = 0; i < f.recommendations.size(); ++i) fix(f.recommendations[i], i);
    if (diagnosed.consequences.empty()) return;
    out_ << "\n  led to:\n";
    for (const DiagnosedFinding& consequence : diagnosed.consequences) led_to(consequence, "    ");
  }

  void cite(const Evidence& evidence) {
    const std::string of = evidence.subject.empty() ? "" : " of " + evidence.subject;
    const bool named = evidence.what.find(evidence.subject) != std::string::npos;
    out_ << wrapped(evidence.what + (named ? "" : of) + ": " + comparison(evidence), "      ", "    - ");
  }

  void fix(const Recommendation& advice, std::size_t index) {
    const char* label = index == 0 ? "  Fix: " : "  Or:  ";
    out_ << '\n' << style_.bold(wrapped(advice_text(advice), "       ", label));
    // The reason of the first one only: the first screen belongs to what to do.
    if (index == 0 && !advice.why.empty()) out_ << wrapped(advice.why, "       ", "       ");
    if (!advice.code.empty()) out_ << style_.code(indented(in_charset(printable_text(advice.code)), "       "));
  }

  void led_to(const DiagnosedFinding& diagnosed, const std::string& indent) {
    const Finding& f = diagnosed.finding;
    out_ << wrap(fmt::format("{}: {} [{}], {}, {}", name(f.severity), shown(rule_title(f.rule)), shown(f.rule),
                             where(f), step_range(f)),
                 width_, indent + "  ", indent + "- ");
    for (const DiagnosedFinding& consequence : diagnosed.consequences) led_to(consequence, indent + "  ");
  }

  void suppressions() {
    for (const ModelReport& model : report_.models) {
      for (const SuppressedFinding& each : model.diagnosis.suppressed)
        out_ << '\n'
             << wrapped(fmt::format("{}, {}: {}", each.finding.rule, where(each.finding), each.reason), "  ",
                        "Suppressed: ");
      for (const Suppression& each : model.diagnosis.expired)
        out_ << '\n'
             << wrapped(fmt::format("the suppression of {} ({}), on {}", each.rule, each.reason, each.expires), "  ",
                        "Expired: ");
    }
  }

  void rules() {
    if (!summary_.passed.empty()) {
      out_ << '\n';
      std::string list;
      for (const std::string& rule : summary_.passed) list += (list.empty() ? "" : ", ") + rule;
      out_ << wrapped(list, "  ", fmt::format("Passed ({}): ", summary_.passed.size()));
    }
    if (summary_.not_evaluated.empty()) return;
    out_ << fmt::format("\nNot evaluated ({}):\n", summary_.not_evaluated.size());
    for (const SkippedRule& rule : summary_.not_evaluated)
      out_ << wrapped(rule.rule + ": " + rule.reason, "    ", "  - ");
  }

  std::string where(const Finding& f) const {
    const std::string label = subject_label(f.subject, summary_.several_models);
    return label.empty() ? "whole run" : shown(label);
  }

  static std::string confidence(double value) {
    return value < 0.995 ? fmt::format(", confidence {:.0f} %", 100 * value) : "";
  }

  std::string wrapped(const std::string& text, std::string_view indent, std::string_view first) const {
    return wrap(shown(text), width_, indent, first);
  }

  std::string shown(std::string_view text) const { return in_charset(printable(text)); }
  std::string in_charset(const std::string& text) const { return charset_ == Charset::kAscii ? ascii(text) : text; }

  std::ostream& out_;
  const Report& report_;
  Summary summary_;
  Style style_;
  std::size_t width_;
  Charset charset_;
};

}  // namespace

void write_terminal(std::ostream& out, const Report& report, const TerminalOptions& options) {
  Writer(out, report, options).write();
}

}  // namespace gradhealth
