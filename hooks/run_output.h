#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include <gradhealth/diagnosis.h>
#include <gradhealth/hooks.h>
#include <gradhealth/run.h>
#include <gradhealth/run_file.h>

#include "hooks/messenger.h"

namespace gradhealth::hooks {

/// Where finished rows go: to the judges, whose findings are told at once, and into the file.
class RunOutput {
 public:
  /// @throws UsageError for a rule or an option of a rule that does not exist.
  RunOutput(const DiagnosisOptions& options, const std::vector<Rule>& rules) : diagnoser_(options, rules) {}

  /// Creates the file. @throws as RunWriter does.
  void open(const std::filesystem::path& path, const Run& run, const MonitorOptions& options);
  /// Judges the row and hands it to the file. The callback is called from here.
  /// @throws IoError if the file can no longer be written.
  void take(const Run& run, StepRecord& row, Messenger& messenger);
  /// Into the file, if there is one yet.
  void note(const Event& event) noexcept;
  void on_finding(std::function<void(const Finding&)> callback) { callback_ = std::move(callback); }
  Diagnosis diagnosis() const { return diagnoser_.diagnosis(); }
  /// Of the file; nothing if there is none yet.
  std::optional<WriterStatus> status() const;
  /// That were told so far, in that order.
  const std::vector<Finding>& errors() const { return errors_; }
  std::int64_t rows() const { return rows_; }
  std::size_t bytes() const { return bytes_; }  ///< That the rows take in the file.
  /// @throws IoError if something could not be written.
  void close();

 private:
  void report_findings(StepRecord& row, Messenger& messenger);

  Diagnoser diagnoser_;
  std::optional<RunWriter> writer_;
  std::filesystem::path path_;
  std::function<void(const Finding&)> callback_;
  std::vector<Finding> errors_;
  std::int64_t rows_ = 0;
  std::size_t bytes_ = 0;
  bool told_of_dropped_rows_ = false;
};

}  // namespace gradhealth::hooks
