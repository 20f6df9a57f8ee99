#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gradhealth/run.h>

/// A run to and from an HDF5 file. lib/run_file/FORMAT.md documents the file.
namespace gradhealth {

/// What to do when the path is taken.
enum class IfExists : std::uint8_t {
  kNextName,  ///< Take the next free name: run.h5, run-2.h5, run-3.h5, …
  kError,     ///< Throw UsageError.
};

/// What a committed row survives.
enum class Durability : std::uint8_t {
  kProcess,  ///< The end of the process, however it comes: the operating system has the row.
  kPower,    ///< Also a power failure or a crash of the system: a commit waits until the disk has the row.
};

struct WriterOptions {
  IfExists if_exists = IfExists::kNextName;
  std::size_t queue_bytes = 64u << 20;          ///< Bound of the queue between the trainer and the writer thread.
  std::chrono::milliseconds flush_period{250};  ///< A row is committed no later than this after it was appended.
  Durability durability = Durability::kProcess;
};

enum class WriterState : std::uint8_t { kRecording, kClosed, kFailed };

struct WriterStatus {
  WriterState state = WriterState::kRecording;
  std::filesystem::path path;
  std::int64_t committed_rows = 0;  ///< Rows that a reader is guaranteed to find (WriterOptions::durability).
  std::int64_t dropped_rows = 0;    ///< Rows lost to a full queue or after a failure.
  std::string error;                ///< The first failure, in full; empty if none.
};

/// Writes one run file while the training runs (HDF5 single-writer, multiple-reader mode).
/// Calls come from one thread at a time. With a thread-safe HDF5 a background thread does the
/// writing; otherwise `append` and `flush` do it, so that a row may wait for the next call.
class RunWriter {
 public:
  /// Creates the file under its final name, ready for readers.
  /// @param run what is known so far; the numbers of its subjects decide how the file is laid out.
  /// @throws UsageError if the path cannot be a run file or is taken (IfExists::kError).
  /// @throws IoError if the file cannot be created.
  RunWriter(const std::filesystem::path& path, const Run& run, const WriterOptions& options = {});
  ~RunWriter();  ///< Closes; never throws.
  RunWriter(RunWriter&&) noexcept;
  RunWriter& operator=(RunWriter&&) noexcept;

  /// Queues one row, its events, and the subjects that `run` has gained since the last call.
  /// Never throws and never waits longer than a few milliseconds for a full queue, once until there is room again:
  /// then rows are dropped and counted. After a failure it does nothing but count.
  void append(const Run& run, const StepRecord& record) noexcept;
  /// Queues an event that belongs to no recorded step.
  void append(const Event& event) noexcept;
  /// Waits until everything queued so far is committed, or writing has failed.
  void flush() noexcept;
  /// Writes what is queued, marks the run finished and closes the file.
  /// @throws IoError if anything acknowledged or queued could not be written.
  void close();

  WriterStatus status() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

enum class RunState : std::uint8_t {
  kUnfinished,  ///< Still being written, or its trainer died.
  kFinished,
  kFailed,     ///< Recording stopped with an error; the training may have gone on.
  kRecovered,  ///< Copied by recover() from an unfinished file, or from a damaged one.
};

/// What of a run to read.
struct Selection {
  std::vector<Quantity> quantities;  ///< Empty: all, and the events of each step.
  std::int64_t from_step = std::numeric_limits<std::int64_t>::min();  ///< Rows of earlier steps are passed over, …
  std::int64_t until_step = std::numeric_limits<std::int64_t>::max();  ///< … and of this and later ones.
};

/// Reads a run file: finished, live, or left by a crashed trainer. Trusts nothing in it.
class RunReader {
 public:
  /// @throws IoError if the file cannot be opened, FormatError if it is not a run file, is damaged or
  /// truncated, or is of a newer major version.
  explicit RunReader(const std::filesystem::path& path);
  ~RunReader();
  RunReader(RunReader&&) noexcept;
  RunReader& operator=(RunReader&&) noexcept;

  const std::filesystem::path& path() const;
  const Run& run() const;
  RunState state() const;
  std::int64_t rows() const;  ///< Committed rows at the time of opening.
  /// Calls `visit` for every committed row in order, each with the events of its step. Reads in blocks:
  /// memory does not grow with the number of rows. The record is reused between calls.
  void for_each_step(const std::function<void(const StepRecord&)>& visit) const;
  /// The same of a part of it; nothing else is read.
  void for_each_step(const Selection& selection, const std::function<void(const StepRecord&)>& visit) const;
  /// All events, in the order written.
  std::vector<Event> events() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// What a follower finds when it looks at its file again.
enum class FileChange : std::uint8_t {
  kNone,
  kGrown,  ///< There are rows or events that it has not visited yet, or the state has changed.
  kNew,    ///< It is the first time, or the path now names another file: everything starts from the beginning.
};

/// Reads a run file while it grows: every row once. What a look costs does not depend on the number of rows.
class RunFollower {
 public:
  /// Touches nothing yet.
  explicit RunFollower(std::filesystem::path path);
  ~RunFollower();
  RunFollower(RunFollower&&) noexcept;
  RunFollower& operator=(RunFollower&&) noexcept;

  /// Looks at the file. What fails while the trainer is just closing the file works a moment later: after a throw, what
  /// was visited and what the last look found stay as they were.
  /// @throws IoError, FormatError as RunReader; the first also while there is no file yet.
  FileChange refresh();
  /// Visits the rows committed up to the last look that no earlier call has visited, as RunReader::for_each_step does.
  /// An event that was written only after the row of its step comes with the next row. If reading fails, the next call
  /// goes on behind the rows visited.
  void for_each_new_step(const std::function<void(const StepRecord&)>& visit);

  /// Of the last look. @pre one has succeeded
  const Run& run() const;
  RunState state() const;
  std::int64_t rows() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// Something that a damaged file should hold and that could not be read.
struct LostPart {
  std::string object;      ///< Path in the file, "parameter/gradient_norm"; empty: the file as a whole.
  std::int64_t count = 0;  ///< Its rows or entries that are lost,
  std::int64_t of = 0;     ///< of so many.
  std::string reason;
};

struct Recovery {
  RunState was = RunState::kUnfinished;  ///< What the old file said of itself.
  RunState is = RunState::kRecovered;    ///< What the new one says.
  std::int64_t rows = 0;
  std::int64_t events = 0;
  std::vector<LostPart> lost;  ///< Empty: every committed row and event is in the new file.
};

/// Copies a run, finished, live or left by a crashed trainer, to an ordinary closed and compressed file. Of a damaged
/// file, takes what can be read. A finished run stays finished and a failed one failed; everything else is recovered.
/// @throws UsageError if `to` is taken or cannot be a run file; IoError if it cannot be written; IoError, FormatError if
/// nothing of `from` can be read.
Recovery recover(const std::filesystem::path& from, const std::filesystem::path& to);

/// The last of the names run.h5, run-2.h5, … that are taken, which IfExists::kNextName would go on from; nothing if
/// `path` itself is free.
std::optional<std::filesystem::path> latest_part(const std::filesystem::path& path);

/// The run files of a run: the file itself, or a directory's `*.h5` in name order.
/// @throws IoError if the path does not exist or the directory holds no run file.
std::vector<std::filesystem::path> run_files(const std::filesystem::path& run);

}  // namespace gradhealth
