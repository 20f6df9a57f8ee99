#include "run_file/process_end.h"

#include <pthread.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <vector>

#include <hdf5.h>

namespace gradhealth::run_file {
namespace {

struct Watched {
  std::mutex mutex;
  std::vector<ProcessEndAware*> writers;
};

// Never destroyed: exit handlers of others may come later.
Watched& watched() {
  static auto& instance = *new Watched;
  return instance;
}

void stop_all() {
  std::vector<ProcessEndAware*> writers;
  {
    const std::lock_guard<std::mutex> lock(watched().mutex);
    writers.swap(watched().writers);
  }
  for (ProcessEndAware* writer : writers) writer->stop_at_exit();
}

void before_fork() {
  watched().mutex.lock();
  for (ProcessEndAware* writer : watched().writers) writer->before_fork();
}

void after_fork_in_parent() {
  for (ProcessEndAware* writer : watched().writers) writer->after_fork_in_parent();
  watched().mutex.unlock();
}

void after_fork_in_child() {
  for (ProcessEndAware* writer : watched().writers) writer->after_fork_in_child();
  watched().writers.clear();
  watched().mutex.unlock();
}

void install() {
  H5open();  // HDF5 registers its exit handler now, hence ours runs before it.
  std::atexit(stop_all);
  ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

}  // namespace

void watch(ProcessEndAware& writer) {
  static std::once_flag once;
  std::call_once(once, install);
  const std::lock_guard<std::mutex> lock(watched().mutex);
  watched().writers.push_back(&writer);
}

bool unwatch(ProcessEndAware& writer) noexcept {
  const std::lock_guard<std::mutex> lock(watched().mutex);
  std::vector<ProcessEndAware*>& all = watched().writers;
  const auto found = std::find(all.begin(), all.end(), &writer);
  if (found == all.end()) return false;
  all.erase(found);
  return true;
}

}  // namespace gradhealth::run_file
