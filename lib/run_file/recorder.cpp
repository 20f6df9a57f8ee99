#include "run_file/recorder.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/format.h>

namespace gradhealth::run_file {
namespace {

/// While it lives, signals go to other threads; a thread started meanwhile inherits that, so that the
/// trainer's signal handlers never run on ours.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

std::int64_t rows_in(const Batch& batch) {
  return std::count_if(batch.begin(), batch.end(), [](const auto& entry) { return entry->has_row; });
}

}  // namespace

Recorder::Recorder(FileWriter writer, const std::filesystem::path& path, const WriterOptions& options, Mode mode)
    : path_(path),
      period_(options.flush_period),
      queue_(options.queue_bytes),
      last_write_(std::chrono::steady_clock::now()),
      writer_(std::move(writer)) {
  if (mode == Mode::kSynchronous) return;
  const SignalsBlocked blocked;
  worker_ = std::thread(&Recorder::run_worker, this, period_);
}

Recorder::~Recorder() { stop(FileState::kFinished); }

void Recorder::append(const Run& run, const StepRecord& record) noexcept {
  try {
    if (recording_)
      queue_row(run, record);
    else
      ++dropped_;
  } catch (const std::exception&) {
    // Out of memory: this row is lost, the training goes on.
    ++dropped_;
  }
}

void Recorder::append(const Event& event) noexcept {
  try {
    if (recording_) queue_events({event});
  } catch (const std::exception&) {
    // Out of memory, as above.
  }
}

void Recorder::queue_row(const Run& run, const StepRecord& record) {
  last_step_ = record.step;
  std::unique_ptr<Entry> entry = queue_.blank();
  entry->set_row(record);
  std::array<std::size_t, kAxisCount> subjects = queued_subjects_;
  for (Axis axis : kGroupAxes) {
    const auto i = static_cast<std::size_t>(axis);
    const std::vector<Subject>& all = run.of(axis);
    if (all.size() <= subjects[i]) continue;
    entry->new_subjects[i].assign(all.begin() + static_cast<std::ptrdiff_t>(subjects[i]), all.end());
    subjects[i] = all.size();
  }
  if (queue_.push(entry, RowQueue::Wait::kIfFull) == RowQueue::Push::kFull) {
    ++dropped_;
    return;
  }
  queued_subjects_ = subjects;
  after_push();
}

void Recorder::queue_events(const std::vector<Event>& events) {
  std::unique_ptr<Entry> entry = queue_.blank();
  entry->events = events;
  if (queue_.push(entry, RowQueue::Wait::kIfFull) == RowQueue::Push::kAccepted) after_push();
}

void Recorder::after_push() {
  ++pushed_;
  if (worker_.joinable()) return;
  const auto now = std::chrono::steady_clock::now();
  if (!queue_.is_due() && now - last_write_ < period_) return;
  last_write_ = now;
  const QuietErrors quiet;
  write(queue_.take_all());
}

void Recorder::run_worker(std::chrono::milliseconds period) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  while (!stopping_) write(queue_.take(period));
  write(queue_.take_all());
  finish(final_state_);
}

void Recorder::write(Batch batch) noexcept {
  if (batch.empty()) return;
  const std::int64_t rows = rows_in(batch);
  if (recording_) {
    try {
      writer_.write(batch);
    } catch (const std::exception& error) {
      fail(error.what());
    }
  }
  const auto entries = static_cast<std::int64_t>(batch.size());
  if (!recording_) dropped_ += rows;
  queue_.recycle(std::move(batch));
  const std::lock_guard lock(mutex_);
  written_ += entries;
  committed_rows_ = writer_.committed_rows();
  progress_.notify_all();
}

void Recorder::fail(const char* error) noexcept {
  recording_ = false;
  writer_.abandon();
  const std::lock_guard lock(mutex_);
  state_ = WriterState::kFailed;
  try {
    error_ = error;
  } catch (const std::exception&) {
    // Out of memory: the state alone has to tell.
  }
}

void Recorder::flush() noexcept {
  if (!worker_.joinable()) {
    const QuietErrors quiet;
    write(queue_.take_all());
    return;
  }
  const std::int64_t target = pushed_;
  queue_.wake();
  std::unique_lock lock(mutex_);
  progress_.wait(lock, [&] { return written_ >= target; });
}

void Recorder::stop(FileState state) noexcept {
  const std::lock_guard lock(stop_mutex_);
  if (stopping_) return;
  final_state_ = state;
  write_drops();
  if (worker_.joinable()) {
    stopping_ = true;
    queue_.wake();
    worker_.join();
    return;
  }
  stopping_ = true;
  const QuietErrors quiet;
  write(queue_.take_all());
  finish(state);
}

void Recorder::write_drops() noexcept {
  if (!recording_ || dropped_ == 0) return;
  try {
    append(Event{last_step_, "monitor", "",
                 fmt::format("{} rows are missing: the training was faster than the disk", dropped_.load())});
  } catch (const std::exception&) {
    // Out of memory: status() still has the count.
  }
}

void Recorder::finish(FileState state) noexcept {
  if (!recording_) return;
  try {
    writer_.finish(state);
    recording_ = false;
    const std::lock_guard lock(mutex_);
    state_ = WriterState::kClosed;
  } catch (const std::exception& error) {
    fail(error.what());
  }
}

WriterStatus Recorder::status() const {
  const std::lock_guard lock(mutex_);
  return {state_, path_, committed_rows_, dropped_, error_};
}

}  // namespace gradhealth::run_file
