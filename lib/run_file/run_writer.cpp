#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

#include "run_file/file_writer.h"
#include "run_file/new_file.h"
#include "run_file/process_end.h"
#include "run_file/schema.h"

namespace gradhealth {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMostRowsAtOnce = 256;
constexpr std::chrono::milliseconds kLongestWait{5};
constexpr std::chrono::seconds kCloseDeadline{30};

bool library_is_threadsafe() {
  hbool_t threadsafe = 0;
  return H5is_library_threadsafe(&threadsafe) >= 0 && threadsafe;
}

std::size_t bytes_of(const StepRecord& row) {
  std::size_t bytes = sizeof row;
  for (const QuantityInfo& quantity : quantities()) bytes += row.values(quantity.id).size() * sizeof(double);
  for (const Event& event : row.events) bytes += sizeof event + event.text.size();
  return bytes;
}

}  // namespace

class RunWriter::Impl final : public run_file::ProcessEndAware {
 public:
  Impl(const std::filesystem::path& path, const Run& run, const WriterOptions& options) : options_(options) {
    run_file::prepare_path(path, options.if_exists);
    const run_file::QuietErrors quiet;
    const std::filesystem::path temporary = run_file::temporary_name(path);
    try {
      file_.emplace(temporary, run, options.durability);
      queue_subjects(run);
      file_->commit(std::exchange(queue_, {}));
      status_.path = run_file::publish(temporary, path, options.if_exists);
      if (options.durability == Durability::kPower) run_file::name_reaches_disk(status_.path);
      out_of_memory_ = status_.path.string() + ": recording has stopped: there is no memory for what was to be written";
    } catch (...) {
      if (file_) file_->abandon();
      std::error_code ignored;
      std::filesystem::remove(status_.path.empty() ? temporary : status_.path, ignored);
      throw;
    }
    file_->set_path(status_.path);
    last_commit_ = Clock::now();
    run_file::watch(*this);
    if (library_is_threadsafe()) thread_ = std::thread([this] { work(); });
  }

  ~Impl() override {
    if (run_file::unwatch(*this)) stop(Ending::kFinished);
  }

  // Nobody has said that the run is finished, so the file does not claim it.
  void stop_at_exit() noexcept override { stop(Ending::kUnfinished); }

  void before_fork() override {
    commit_mutex_.lock();
    mutex_.lock();
  }

  void after_fork_in_parent() override {
    mutex_.unlock();
    commit_mutex_.unlock();
  }

  void after_fork_in_child() noexcept override {
    // The thread exists in the parent only; neither joining nor destroying it is possible here, and memory to keep it
    // in may be what there is none of.
    if (thread_.joinable()) new (parents_thread_) std::thread(std::move(thread_));
    file_->leave_to_parent();
    fail(std::make_exception_ptr(IoError("this process was forked off the one that records")), 0);
    mutex_.unlock();
    commit_mutex_.unlock();
  }

  void append(const Run& run, const StepRecord& record) noexcept {
    try {
      std::unique_lock<std::mutex> lock(mutex_);
      const std::size_t bytes = bytes_of(record);
      if (!room_for(bytes, lock)) {
        ++status_.dropped_rows;
        return;
      }
      queue_subjects(run);
      queue_.rows.push_back(record);
      queued_bytes_ += bytes;
      wake(lock);
    } catch (...) {
      fail_now(std::current_exception(), 1);
    }
  }

  void append(const Event& event) noexcept {
    try {
      std::unique_lock<std::mutex> lock(mutex_);
      if (status_.state != WriterState::kRecording) return;
      queue_.events.push_back(event);
      if (event.kind == run_file::kRecordingStopped) at_close_ = RunState::kFailed;
      wake(lock);
    } catch (...) {
      fail_now(std::current_exception(), 0);
    }
  }

  void flush() noexcept {
    try {
      std::unique_lock<std::mutex> lock(mutex_);
      if (status_.state != WriterState::kRecording) return;
      if (!thread_.joinable()) return commit_here(lock);
      flush_requested_ = true;
      wake_.notify_one();
      idle_.wait_for(lock, kCloseDeadline, [this] { return !flush_requested_ || status_.state != WriterState::kRecording; });
    } catch (...) {
      fail_now(std::current_exception(), 0);
    }
  }

  void close() {
    if (run_file::unwatch(*this)) stop(Ending::kFinished);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (status_.state == WriterState::kFailed) throw IoError(status_.error);
    if (status_.dropped_rows > 0)
      throw IoError(fmt::format("{}: {} rows were dropped because the disk could not keep up; the rest is complete",
                                status_.path.string(), status_.dropped_rows));
  }

  WriterStatus status() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return status_;
  }

 private:
  enum class Ending { kFinished, kUnfinished };

  void queue_subjects(const Run& run) {
    for (const Axis axis : run_file::kSubjectAxes) {
      std::size_t& known = known_subjects_[static_cast<std::size_t>(axis)];
      const std::vector<Subject>& subjects = run.of(axis);
      for (; known < subjects.size(); ++known) queue_.subjects.emplace_back(axis, subjects[known]);
    }
  }

  bool room_for(std::size_t bytes, std::unique_lock<std::mutex>& lock) {
    const auto fits = [&] {
      return status_.state != WriterState::kRecording || queued_bytes_ == 0 ||
             queued_bytes_ + bytes <= options_.queue_bytes;
    };
    // A disk that hangs is waited for once, not again with every row.
    if (!fits() && thread_.joinable() && !overtaken_) idle_.wait_for(lock, kLongestWait, fits);
    if (!fits() && !thread_.joinable()) commit_here(lock);
    overtaken_ = !fits();
    return !overtaken_ && status_.state == WriterState::kRecording;
  }

  void wake(std::unique_lock<std::mutex>& lock) {
    const bool due = Clock::now() - last_commit_ >= options_.flush_period;
    if (!thread_.joinable()) {
      if (due || queue_.rows.size() >= kMostRowsAtOnce) commit_here(lock);
      return;
    }
    // The thread sleeps until a commit is due: waking it for every row would cost the trainer more than the row.
    if (queue_.rows.size() >= kMostRowsAtOnce || !waiting_for_more_) wake_.notify_one();
  }

  void work() {
    const run_file::QuietErrors quiet;
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return stopping_ || flush_requested_ || has_work(); });
      if (!stopping_ && !flush_requested_) {
        waiting_for_more_ = true;
        wake_.wait_until(lock, last_commit_ + options_.flush_period,
                         [this] { return stopping_ || flush_requested_ || queue_.rows.size() >= kMostRowsAtOnce; });
        waiting_for_more_ = false;
      }
      commit_here(lock);
      flush_requested_ = flush_requested_ && has_work() && status_.state == WriterState::kRecording;
      idle_.notify_all();
      if (stopping_ && (!has_work() || status_.state != WriterState::kRecording)) return;
    }
  }

  bool has_work() const { return !queue_.rows.empty() || !queue_.subjects.empty() || !queue_.events.empty(); }

  void commit_here(std::unique_lock<std::mutex>& lock) {
    if (!has_work() || status_.state != WriterState::kRecording) return;
    const run_file::Batch batch = std::exchange(queue_, {});
    queued_bytes_ = 0;
    lock.unlock();
    std::exception_ptr error;
    {
      const std::lock_guard<std::mutex> committing(commit_mutex_);
      const run_file::QuietErrors quiet;
      try {
        file_->commit(batch);
      } catch (...) {
        error = std::current_exception();
        file_->abandon_failed();
      }
    }
    lock.lock();
    last_commit_ = Clock::now();
    if (!error)
      status_.committed_rows += static_cast<std::int64_t>(batch.rows.size());
    else
      fail(error, batch.rows.size());
  }

  /// HDF5 takes writes after a failed one, reports success and loses them: nothing is written from here on.
  /// @pre mutex_ is held.
  void fail(const std::exception_ptr& error, std::size_t rows_lost) noexcept {
    status_.dropped_rows += static_cast<std::int64_t>(rows_lost + queue_.rows.size());
    queue_ = {};
    queued_bytes_ = 0;
    if (std::exchange(status_.state, WriterState::kFailed) == WriterState::kFailed) return;  // The first reason counts.
    try {
      std::rethrow_exception(error);
    } catch (const std::bad_alloc&) {
      status_.error.swap(out_of_memory_);
    } catch (const std::exception& thrown) {
      try {
        status_.error = thrown.what();
      } catch (...) {
        status_.error.swap(out_of_memory_);
      }
    } catch (...) {
      status_.error.swap(out_of_memory_);
    }
  }

  void fail_now(const std::exception_ptr& error, std::size_t rows_lost) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (status_.state == WriterState::kRecording) fail(error, rows_lost);
  }

  void stop(Ending ending) noexcept {
    try {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        stopping_ = true;
      }
      wake_.notify_one();
      if (thread_.joinable()) thread_.join();
      std::unique_lock<std::mutex> lock(mutex_);
      commit_here(lock);
      const run_file::QuietErrors quiet;
      if (status_.state == WriterState::kRecording && ending == Ending::kFinished) {
        file_->finish(at_close_);
      } else if (status_.state == WriterState::kFailed) {
        file_->abandon_failed();
      } else {
        file_->abandon();
      }
      if (status_.state == WriterState::kRecording) status_.state = WriterState::kClosed;
    } catch (...) {
      fail_now(std::current_exception(), 0);
      const run_file::QuietErrors quiet;
      file_->abandon_failed();
    }
  }

  WriterOptions options_;
  std::optional<run_file::FileWriter> file_;  ///< The thread's, while it runs.
  std::mutex commit_mutex_;                   ///< Held while HDF5 writes; taken before mutex_ where both are.
  mutable std::mutex mutex_;                  ///< Guards everything below.
  std::condition_variable wake_;
  std::condition_variable idle_;
  run_file::Batch queue_;
  std::size_t queued_bytes_ = 0;
  std::array<std::size_t, kAxisCount> known_subjects_{};
  WriterStatus status_;
  std::string out_of_memory_;  ///< What to say when there is no memory to say it with.
  Clock::time_point last_commit_;
  RunState at_close_ = RunState::kFinished;
  bool stopping_ = false;
  bool flush_requested_ = false;
  bool waiting_for_more_ = false;
  bool overtaken_ = false;  ///< The latest row found no room.
  std::thread thread_;
  alignas(std::thread) std::byte parents_thread_[sizeof(std::thread)];  ///< In a forked child; never destroyed.
};

RunWriter::RunWriter(const std::filesystem::path& path, const Run& run, const WriterOptions& options)
    : impl_(std::make_unique<Impl>(path, run, options)) {}
RunWriter::~RunWriter() = default;
RunWriter::RunWriter(RunWriter&&) noexcept = default;
RunWriter& RunWriter::operator=(RunWriter&&) noexcept = default;
void RunWriter::append(const Run& run, const StepRecord& record) noexcept { impl_->append(run, record); }
void RunWriter::append(const Event& event) noexcept { impl_->append(event); }
void RunWriter::flush() noexcept { impl_->flush(); }
void RunWriter::close() { impl_->close(); }
WriterStatus RunWriter::status() const { return impl_->status(); }

}  // namespace gradhealth
