#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <thread>

#include <gradhealth/run_file.h>

#include "run_file/file_writer.h"
#include "run_file/row_queue.h"

namespace gradhealth::run_file {

/// Feeds a FileWriter from the training thread: through a thread of its own, or in the calling thread
/// where the HDF5 library is not thread-safe. The first failed write ends the recording for good.
class Recorder {
 public:
  enum class Mode : std::uint8_t { kBackground, kSynchronous };

  Recorder(FileWriter writer, const std::filesystem::path& path, const WriterOptions& options, Mode mode);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  void append(const Run& run, const StepRecord& record) noexcept;
  void append(const Event& event) noexcept;
  void flush() noexcept;
  /// Writes what is queued, sets /state to `state` and closes the file. Only the first call does anything.
  void stop(FileState state) noexcept;
  WriterStatus status() const;

 private:
  void queue_row(const Run& run, const StepRecord& record);
  void queue_events(const std::vector<Event>& events);
  void after_push();
  void run_worker(std::chrono::milliseconds period);
  void write(Batch batch) noexcept;
  void write_drops() noexcept;
  void fail(const char* error) noexcept;
  void finish(FileState state) noexcept;

  const std::filesystem::path path_;
  const std::chrono::milliseconds period_;
  RowQueue queue_;

  // Of the training thread.
  std::array<std::size_t, kAxisCount> queued_subjects_{};
  std::int64_t last_step_ = 0;
  std::chrono::steady_clock::time_point last_write_;

  // Of whichever thread writes.
  FileWriter writer_;

  std::atomic<bool> recording_{true};
  std::atomic<bool> stopping_{false};
  std::atomic<std::int64_t> dropped_{0};
  std::atomic<std::int64_t> pushed_{0};

  mutable std::mutex mutex_;
  std::condition_variable progress_;
  std::int64_t written_ = 0;  ///< Entries that were written or lost.
  std::int64_t committed_rows_ = 0;
  WriterState state_ = WriterState::kRecording;
  std::string error_;

  std::mutex stop_mutex_;
  FileState final_state_ = FileState::kRunning;
  std::thread worker_;
};

}  // namespace gradhealth::run_file
