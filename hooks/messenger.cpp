#include "hooks/messenger.h"

#include <cstdio>

#include <fmt/format.h>

namespace gradhealth::hooks {
namespace {

constexpr int kMostLines = 5;
constexpr int kMostFindingLines = 3;  // The last lines are kept for failures.

}  // namespace

void Messenger::line(const std::string& text) {
  if (lines_++ >= kMostLines) return;
  std::fputs(("gradhealth: " + text + "\n").c_str(), stderr);
}

void Messenger::taken_path(const std::filesystem::path& asked, const std::filesystem::path& used) {
  if (messages_ == Messages::kFindings) line(fmt::format("{} exists, recording to {}", asked.string(), used.string()));
}

void Messenger::finding(const Finding& finding, const std::filesystem::path& file) {
  if (messages_ != Messages::kFindings || finding.severity == Severity::kInfo || lines_ > kMostFindingLines) return;
  if (lines_ == kMostFindingLines) {
    line(fmt::format("more findings; see them all: gradhealth report {}", file.string()));
    return;
  }
  const std::string& subject = finding.subject.name.empty() ? finding.subject.module : finding.subject.name;
  line(fmt::format("{}: {}{}{}: {} (gradhealth report {})", name(finding.severity), finding.rule,
                   subject.empty() ? "" : " in ", subject, finding.message, file.string()));
}

void Messenger::callback_dropped() {
  if (messages_ != Messages::kNone) line("the on_finding callback threw; it is not called again, recording goes on");
}

void Messenger::usage(const std::string& advice) {
  if (messages_ == Messages::kFindings) line(advice);
}

// Memory may be what has run out.
void Messenger::failure(const std::string& error) noexcept {
  if (messages_ == Messages::kNone || lines_++ >= kMostLines) return;
  std::fprintf(stderr, "gradhealth: recording has stopped, the training goes on: %s\n", error.c_str());
}

void Messenger::incomplete(const std::string& error) {
  if (messages_ != Messages::kNone) line(fmt::format("the recording is not complete: {}", error));
}

void Messenger::dropped_rows(const std::filesystem::path& file) {
  if (messages_ == Messages::kFindings)
    line(fmt::format("{}: the disk does not keep up; steps that find no room are not recorded", file.string()));
}

}  // namespace gradhealth::hooks
