#include "run_file/row_queue.h"

#include <utility>

namespace gradhealth::run_file {
namespace {

constexpr std::chrono::milliseconds kLongestWait{5};
constexpr std::size_t kBatchEntries = 256;
constexpr std::size_t kSpareEntries = 2 * kBatchEntries;
/// Larger entries are freed, not kept: the spare ones stay far below the queue's bound.
constexpr std::size_t kSpareEntryBytes = 16u << 10;

}  // namespace

std::unique_ptr<Entry> RowQueue::blank() {
  {
    const std::lock_guard lock(mutex_);
    if (!spare_.empty()) {
      std::unique_ptr<Entry> entry = std::move(spare_.back());
      spare_.pop_back();
      return entry;
    }
  }
  return std::make_unique<Entry>();
}

RowQueue::Push RowQueue::push(std::unique_ptr<Entry>& entry, Wait wait) {
  const std::size_t bytes = entry->bytes();
  std::unique_lock lock(mutex_);
  if (!has_room_locked(bytes) && wait == Wait::kIfFull && !was_full_)
    room_.wait_for(lock, kLongestWait, [&] { return has_room_locked(bytes); });
  was_full_ = !has_room_locked(bytes);
  if (was_full_) return Push::kFull;
  queued_.push_back(std::move(entry));
  bytes_ += bytes;
  queued_bytes_ += bytes;
  if (is_due_locked()) changed_.notify_one();
  return Push::kAccepted;
}

Batch RowQueue::take(std::chrono::milliseconds period) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, period, [&] { return woken_ || is_due_locked(); });
  woken_ = false;
  queued_bytes_ = 0;
  return std::exchange(queued_, {});
}

Batch RowQueue::take_all() { return take(std::chrono::milliseconds::zero()); }

void RowQueue::recycle(Batch batch) {
  std::size_t bytes = 0;
  for (const auto& entry : batch) bytes += entry->bytes();
  for (auto& entry : batch)
    if (entry->bytes() > kSpareEntryBytes) entry.reset();
    else entry->clear();
  const std::lock_guard lock(mutex_);
  bytes_ -= bytes;
  for (auto& entry : batch)
    if (entry && spare_.size() < kSpareEntries) spare_.push_back(std::move(entry));
  room_.notify_all();
}

bool RowQueue::is_due() const {
  const std::lock_guard lock(mutex_);
  return is_due_locked();
}

bool RowQueue::is_due_locked() const { return queued_.size() >= kBatchEntries || queued_bytes_ > limit_ / 4; }

void RowQueue::wake() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  changed_.notify_one();
}

}  // namespace gradhealth::run_file
