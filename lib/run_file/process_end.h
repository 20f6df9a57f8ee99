#pragma once

namespace gradhealth::run_file {

/// Something that writes a file from a thread of its own, and must not be surprised by exit() or fork().
class ProcessEndAware {
 public:
  virtual ~ProcessEndAware() = default;
  virtual void stop_at_exit() noexcept = 0;
  /// Returns once the file is at rest; it stays so until the matching call.
  virtual void before_fork() = 0;
  virtual void after_fork_in_parent() = 0;
  virtual void after_fork_in_child() noexcept = 0;
};

/// From now on the end of the process by exit(), or by returning from main(), stops it before HDF5 closes itself
/// underneath its thread, and a forked child cannot write to its file.
void watch(ProcessEndAware& writer);
/// @return whether it was watched.
bool unwatch(ProcessEndAware& writer) noexcept;

}  // namespace gradhealth::run_file
