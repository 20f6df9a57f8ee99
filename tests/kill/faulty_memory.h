#pragma once

namespace gradhealth::test {

/// While it lives, an allocation by `new` fails, and all after it: those of the thread that made this object, or of all
/// others. One at a time.
class FailingMemory {
 public:
  enum class Threads { kThis, kOthers };
  /// @param first of the allocations from now on that fails, from 1
  explicit FailingMemory(long first, Threads threads = Threads::kThis);
  ~FailingMemory();
  FailingMemory(const FailingMemory&) = delete;
  FailingMemory& operator=(const FailingMemory&) = delete;
};

}  // namespace gradhealth::test
