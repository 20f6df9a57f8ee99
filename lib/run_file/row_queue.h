#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "run_file/entry.h"

namespace gradhealth::run_file {

/// The bounded queue between the training thread and the writer. Memory is bounded by `limit_bytes`,
/// counting what the writer has taken and not yet given back; one entry fits however large it is.
class RowQueue {
 public:
  enum class Push : std::uint8_t { kAccepted, kFull };
  enum class Wait : std::uint8_t { kIfFull, kNever };

  explicit RowQueue(std::size_t limit_bytes) : limit_(limit_bytes) {}

  /// A cleared entry, its memory reused where possible.
  std::unique_ptr<Entry> blank();
  /// Waits up to five milliseconds for room; not again before an entry has fitted, so that a slow disk
  /// does not slow every step. Leaves `entry` alone when full.
  Push push(std::unique_ptr<Entry>& entry, Wait wait);

  /// Waits until a batch is worth writing, somebody asks for it, or `period` is over. May be empty.
  Batch take(std::chrono::milliseconds period);
  /// The same without waiting.
  Batch take_all();
  /// Gives the entries back after writing.
  void recycle(Batch batch);

  /// Whether enough is queued for a write.
  bool is_due() const;
  /// Ends a wait in take().
  void wake();

 private:
  bool is_due_locked() const;
  bool has_room_locked(std::size_t bytes) const { return bytes_ == 0 || bytes_ + bytes <= limit_; }

  const std::size_t limit_;
  mutable std::mutex mutex_;
  std::condition_variable changed_, room_;
  Batch queued_, spare_;
  std::size_t bytes_ = 0;         ///< Queued and taken.
  std::size_t queued_bytes_ = 0;  ///< Queued.
  bool woken_ = false;
  bool was_full_ = false;
};

}  // namespace gradhealth::run_file
