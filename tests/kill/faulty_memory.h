#pragma once

namespace gradhealth::test {

/// While it lives, an allocation by `new` fails, and all after it if that is asked for: those of the thread that made this
/// object, or of all others. One at a time.
class FailingMemory {
 public:
  enum class Threads { kThis, kOthers };
  enum class Failing { kFromThenOn, kOnce };
  /// @param first of the allocations from now on that fails, from 1
  explicit FailingMemory(long first, Threads threads = Threads::kThis, Failing failing = Failing::kFromThenOn);
  ~FailingMemory();
  FailingMemory(const FailingMemory&) = delete;
  FailingMemory& operator=(const FailingMemory&) = delete;
};

}  // namespace gradhealth::test
