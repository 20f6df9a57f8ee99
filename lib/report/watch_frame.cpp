#include <algorithm>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <gradhealth/report.h>

#include "report/escape.h"
#include "report/style.h"
#include "report/summary.h"
#include "report/text_plot.h"
#include "report/wrap.h"

namespace gradhealth {
namespace {

constexpr std::size_t kMostCells = 64;
constexpr std::size_t kIndent = 2;
constexpr std::size_t kNumberWidth = 14;

/// At most `width` columns; what does not fit ends in an ellipsis.
std::string clipped(std::string text, std::size_t width, Charset charset) {
  if (display_width(text) <= width) return text;
  if (charset == Charset::kAscii) return text.substr(0, width > 3 ? width - 3 : 0) + "...";
  std::size_t bytes = text.size();
  // Each code point is one column, so that as many bytes as there are continuation bytes come on top.
  while (display_width(text) > width) text = shortened(text, --bytes);
  return text;
}

std::string shown(std::string_view text, Charset charset) {
  return charset == Charset::kAscii ? ascii(printable(text)) : printable(text);
}

std::string value(const std::optional<double>& known) { return known ? number(*known) : "-"; }

std::string duration(double seconds) {
  if (seconds < 120) return fmt::format("{:.0f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.0f} h", seconds / 3600);
}

std::string phase_of(const WatchState& state) {
  switch (state.phase) {
    case WatchPhase::kWaiting: return state.rows > 0 ? "the file is gone; waiting for another one" : "waiting for the run to begin";
    case WatchPhase::kRecording: return "recording";
    case WatchPhase::kStalled:
      return fmt::format("no new steps since {}; the trainer may be dead", duration(state.idle_seconds));
    case WatchPhase::kFinished: return "finished";
    case WatchPhase::kFailed: return "the recording failed";
    case WatchPhase::kContinued: return "continued in a later file";
  }
  return {};
}

std::string numbers(const WatchState& state) {
  if (state.rows == 0) return state.phase == WatchPhase::kWaiting ? "" : "no step yet";
  std::string text = fmt::format("step {}  loss {}  gradient norm {}  learning rate {}", state.step, value(state.loss),
                                 value(state.gradient_norm), value(state.learning_rate));
  if (state.phase == WatchPhase::kRecording && state.steps_per_second)
    text += fmt::format("  {:.3g} steps/s", *state.steps_per_second);
  return text;
}

std::string finding_text(const Finding& finding, Charset charset) {
  const std::string subject = subject_label(finding.subject, !finding.subject.model.empty());
  return fmt::format("since step {}, {}: {} [{}]", finding.first_step,
                     subject.empty() ? "whole run" : shown(subject, charset),
                     shown(rule_title(finding.rule), charset), shown(finding.rule, charset));
}

class Frame {
 public:
  Frame(const TerminalOptions& options, std::size_t height)
      : style_(options.colour), width_(std::max<std::size_t>(options.width, 20)), height_(height), charset_(options.charset) {}

  void head(const WatchState& state) {
    std::string text = shown(state.name, charset_) + "  " + phase_of(state);
    if (state.verdict) text += ": " + upper(name(*state.verdict));
    text = clipped(text, width_, charset_);
    const bool bad = state.verdict == Verdict::kUnhealthy;
    lines_.push_back(bad ? style_.of(*state.verdict, text) : style_.bold(text));
    const std::string latest = numbers(state);
    if (!latest.empty()) lines_.push_back(clipped(latest, width_, charset_));
  }

  void plot(const char* title, const PlotSeries& series, std::size_t rows) {
    const std::size_t taken = kIndent + kTextPlotLabel + 1;
    if (width_ < taken + 16) return;
    const std::size_t cells = std::min(width_ - taken, kMostCells);
    const std::vector<std::string> plotted = text_plot(series, text_axis(series, cells), rows, charset_);
    if (plotted.empty()) return;
    lines_.push_back(style_.dim(is_logarithmic(series) ? fmt::format("{}, logarithmic", title) : std::string(title)));
    for (const std::string& line : plotted) lines_.push_back(std::string(kIndent, ' ') + line);
  }

  void parameters(const std::vector<WatchState::Parameter>& worst) {
    const std::size_t numbers = 3 * (kNumberWidth + 1);
    if (worst.empty() || width_ < numbers + 12) return;
    std::size_t names = 9;
    for (const WatchState::Parameter& each : worst) names = std::max(names, display_width(shown(each.name, charset_)));
    names = std::min(names, width_ - numbers);
    const auto row = [&](std::string name, const std::string& a, const std::string& b, const std::string& c) {
      name = clipped(std::move(name), names, charset_);
      name.append(names - display_width(name), ' ');
      return fmt::format("{} {:>{}} {:>{}} {:>{}}", name, a, kNumberWidth, b, kNumberWidth, c, kNumberWidth);
    };
    lines_.push_back(style_.dim(row("parameter", "gradient norm", "weight norm", "update ratio")));
    for (const WatchState::Parameter& each : worst)
      lines_.push_back(row(shown(each.name, charset_), value(each.gradient_norm), value(each.weight_norm),
                           value(each.update_ratio)));
  }

  /// As many of the latest ones as there is room for.
  void findings(const std::vector<const Finding*>& all) {
    if (lines_.size() >= height_) return;
    std::size_t room = height_ - lines_.size();
    std::size_t first = 0;
    if (all.size() > room) {
      first = all.size() - (room - 1);
      lines_.push_back(style_.dim(clipped(fmt::format("{} earlier findings", first), width_, charset_)));
    }
    for (std::size_t i = first; i < all.size(); ++i) lines_.push_back(finding(*all[i]));
  }

  std::string finding(const Finding& found) const {
    const std::string severity = upper(name(found.severity));
    const std::size_t room = width_ > severity.size() + 2 ? width_ - severity.size() - 2 : 1;
    return style_.of(found.severity, severity) + "  " + clipped(finding_text(found, charset_), room, charset_);
  }

  void write(std::ostream& out) {
    if (lines_.size() > height_) lines_.resize(height_);
    for (const std::string& line : lines_) out << line << '\n';
  }

  std::size_t room() const { return height_ > lines_.size() ? height_ - lines_.size() : 0; }

 private:
  Style style_;
  std::size_t width_;
  std::size_t height_;
  Charset charset_;
  std::vector<std::string> lines_;
};

}  // namespace

void write_watch_frame(std::ostream& out, const std::vector<WatchState>& states, const TerminalOptions& options,
                       std::size_t height) {
  Frame frame(options, height);
  std::vector<const Finding*> findings;
  for (const WatchState& state : states) {
    frame.head(state);
    for (const Finding& finding : state.findings) findings.push_back(&finding);
  }
  if (states.size() == 1) {
    const WatchState& state = states.front();
    // Of a low terminal the findings get at least a third.
    const std::size_t rows = height >= 20 ? 3 : 1;
    if (height >= 12) frame.plot("loss", state.plots.loss, rows);
    if (height >= 18) frame.plot("global gradient norm", state.plots.global_gradient_norm, rows);
    if (frame.room() >= 9) frame.parameters(state.worst);
  }
  frame.findings(findings);
  frame.write(out);
}

void write_watch_line(std::ostream& out, const WatchState& state, Charset charset) {
  out << shown(state.name, charset) << "  " << phase_of(state);
  if (state.verdict) out << ": " << upper(name(*state.verdict));
  const std::string latest = numbers(state);
  out << (latest.empty() ? "" : "  ") << latest << '\n';
}

void write_finding_line(std::ostream& out, const Finding& finding, const TerminalOptions& options) {
  out << Frame(options, 1).finding(finding) << '\n';
}

}  // namespace gradhealth
