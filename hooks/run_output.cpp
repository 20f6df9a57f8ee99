#include "hooks/run_output.h"

#include <string>

#include <fmt/format.h>

#include <gradhealth/errors.h>

#include "hooks/run_description.h"

namespace gradhealth::hooks {

void RunOutput::open(const std::filesystem::path& path, const Run& run, const MonitorOptions& options) {
  WriterOptions wanted;
  wanted.if_exists = options.if_exists;
  wanted.durability = options.durability;
  writer_.emplace(path, run, wanted);
  path_ = writer_->status().path;
}

void RunOutput::take(const Run& run, StepRecord& row, Messenger& messenger) {
  diagnoser_.observe(run, row);
  report_findings(row, messenger);
  writer_->append(run, row);
  ++rows_;
  bytes_ += row_bytes(run);
  const WriterStatus written = writer_->status();
  if (written.state == WriterState::kFailed) throw IoError(written.error);
  if (written.dropped_rows == 0 || told_of_dropped_rows_) return;
  told_of_dropped_rows_ = true;
  messenger.dropped_rows(path_);
}

void RunOutput::report_findings(StepRecord& row, Messenger& messenger) {
  for (const Finding& finding : diagnoser_.new_findings()) {
    const std::string& subject = finding.subject.name.empty() ? finding.subject.module : finding.subject.name;
    row.events.push_back({row.step, "finding", subject,
                          fmt::format("{} {}: {}", name(finding.severity), finding.rule, finding.message)});
    if (finding.severity == Severity::kError) errors_.push_back(finding);
    messenger.finding(finding, path_);
    if (!callback_) continue;
    try {
      callback_(finding);
    } catch (...) {
      callback_ = nullptr;
      messenger.callback_dropped();
    }
  }
}

void RunOutput::note(const Event& event) noexcept {
  if (writer_) writer_->append(event);
}

std::optional<WriterStatus> RunOutput::status() const {
  if (!writer_) return std::nullopt;
  return writer_->status();
}

void RunOutput::close() {
  if (writer_) writer_->close();
}

}  // namespace gradhealth::hooks
