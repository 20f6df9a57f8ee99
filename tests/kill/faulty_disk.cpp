// A disk that fails, for LD_PRELOAD: see faulty_disk.h.
#include "kill/faulty_disk.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>

#include "kill/disk_log.h"

namespace {

using gradhealth::test::DiskLogEntry;

constexpr off_t kPage = 4096;

enum class Action { kNone, kCount, kKill, kTear, kFail, kFull, kShort, kDelay, kSync, kLog };

struct Fault {
  Action action = Action::kNone;
  long first = 0;
  long count = 1;
  long number = 0;
  int log = -1;
};

Fault read_fault() {
  Fault fault;
  const char* set = ::getenv(gradhealth::test::kFaultyDisk);
  if (set == nullptr) return fault;
  char action[16] = {};
  if (::sscanf(set, "%15[a-z]:%ld:%ld:%ld", action, &fault.first, &fault.count, &fault.number) < 1) return fault;
  const struct {
    const char* name;
    Action action;
  } actions[] = {{"count", Action::kCount}, {"kill", Action::kKill},   {"tear", Action::kTear},
                 {"fail", Action::kFail},   {"full", Action::kFull},   {"short", Action::kShort}, {"delay", Action::kDelay},
                 {"sync", Action::kSync},   {"log", Action::kLog}};
  for (const auto& each : actions)
    if (::strcmp(each.name, action) == 0) fault.action = each.action;
  if (fault.action == Action::kNone) {
    static const char text[] = "faulty_disk: no such action\n";
    (void)!::write(STDERR_FILENO, text, sizeof text - 1);
    ::abort();
  }
  if (fault.action == Action::kLog) {
    const char* file = ::getenv(gradhealth::test::kFaultyDiskLog);
    fault.log = file ? ::open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
  }
  return fault;
}

const Fault& fault() {
  static const Fault fault = read_fault();
  return fault;
}

std::atomic<long> calls{0};
std::atomic<long> syncs{0};

template <typename Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

ssize_t true_write(int file, const void* data, size_t size) {
  static const auto call = next<ssize_t (*)(int, const void*, size_t)>("write");
  return call(file, data, size);
}

ssize_t true_pwrite(int file, const void* data, size_t size, off_t offset) {
  static const auto call = next<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite");
  return call(file, data, size, offset);
}

bool concerns(int file) {
  if (fault().action == Action::kNone) return false;
  char link[64];
  char name[4096];
  ::snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  const ssize_t length = ::readlink(link, name, sizeof name - 1);
  if (length <= 0) return false;
  name[length] = '\0';
  return ::strstr(name, ".h5") != nullptr;
}

void log(DiskLogEntry::Kind kind, int file, off_t offset, const void* data, size_t size) {
  if (fault().log < 0) return;
  struct stat status {};
  ::fstat(file, &status);
  const DiskLogEntry entry{kind, offset, static_cast<std::int64_t>(size), static_cast<std::int64_t>(status.st_ino)};
  (void)!true_write(fault().log, &entry, sizeof entry);
  if (size > 0) (void)!true_write(fault().log, data, size);
}

[[noreturn]] void die() {
  ::kill(::getpid(), SIGKILL);
  while (true) ::pause();
}

void sleep_for(long milliseconds) {
  timespec time{milliseconds / 1000, milliseconds % 1000 * 1'000'000};
  ::nanosleep(&time, nullptr);
}

/// What is to become of a call that would write `size` bytes at `offset`: so many are written; or -1, with errno.
ssize_t decide(const char* data, size_t size, off_t offset, int file) {
  const Fault& set = fault();
  const long call = ++calls;
  const bool hit = call >= set.first && call < set.first + set.count;
  switch (set.action) {
    case Action::kKill:
      if (call >= set.first) die();
      break;
    case Action::kTear:
      if (call >= set.first) {
        const auto part = static_cast<size_t>(kPage - offset % kPage);
        if (data != nullptr && part < size) true_pwrite(file, data, part, offset);
        die();
      }
      break;
    case Action::kFail:
      if (hit) {
        errno = static_cast<int>(set.number);
        return -1;
      }
      break;
    case Action::kFull: {
      struct stat status {};
      if (hit && ::fstat(file, &status) == 0 && offset + static_cast<off_t>(size) > status.st_size) {
        errno = ENOSPC;
        return -1;
      }
      break;
    }
    case Action::kShort:
      if (hit && size > 1) return static_cast<ssize_t>(size / 2);
      break;
    case Action::kDelay:
      if (hit) sleep_for(set.number);
      break;
    default: break;
  }
  return static_cast<ssize_t>(size);
}

int decide_sync() {
  const Fault& set = fault();
  const long call = ++syncs;
  if (set.action != Action::kSync || call < set.first || call >= set.first + set.count) return 0;
  errno = static_cast<int>(set.number);
  return -1;
}

int synchronise(int file, const char* name) {
  if (concerns(file) && decide_sync() != 0) return -1;
  const int result = next<int (*)(int)>(name)(file);
  if (result == 0 && concerns(file)) log(DiskLogEntry::kSync, file, 0, nullptr, 0);
  return result;
}

int truncate_to(int file, off_t size, const char* name) {
  if (concerns(file)) {
    if (decide(nullptr, 0, size, file) < 0) return -1;
    log(DiskLogEntry::kTruncate, file, size, nullptr, 0);
  }
  return next<int (*)(int, off_t)>(name)(file, size);
}

}  // namespace

extern "C" {

long gradhealth_write_calls() { return calls; }

ssize_t write(int file, const void* data, size_t size) {
  if (concerns(file)) {
    const off_t offset = ::lseek(file, 0, SEEK_CUR);
    const ssize_t decided = decide(static_cast<const char*>(data), size, offset, file);
    if (decided < 0) return -1;
    log(DiskLogEntry::kWrite, file, offset, data, static_cast<size_t>(decided));
    return true_write(file, data, static_cast<size_t>(decided));
  }
  const ssize_t written = true_write(file, data, size);
  if (file == STDOUT_FILENO && written > 0) log(DiskLogEntry::kAcknowledged, file, 0, data, static_cast<size_t>(written));
  return written;
}

ssize_t pwrite(int file, const void* data, size_t size, off_t offset) {
  if (!concerns(file)) return true_pwrite(file, data, size, offset);
  const ssize_t decided = decide(static_cast<const char*>(data), size, offset, file);
  if (decided < 0) return -1;
  log(DiskLogEntry::kWrite, file, offset, data, static_cast<size_t>(decided));
  return true_pwrite(file, data, static_cast<size_t>(decided), offset);
}

ssize_t pwrite64(int file, const void* data, size_t size, off_t offset) { return pwrite(file, data, size, offset); }
int ftruncate(int file, off_t size) noexcept { return truncate_to(file, size, "ftruncate"); }
int ftruncate64(int file, off_t size) noexcept { return truncate_to(file, size, "ftruncate64"); }
int fsync(int file) { return synchronise(file, "fsync"); }
int fdatasync(int file) { return synchronise(file, "fdatasync"); }

// Of HDF5, 1.10 and later: bool or unsigned char have the same size in all of its versions that matter here.
int H5is_library_threadsafe(bool* threadsafe) {
  const char* unsafe = ::getenv(gradhealth::test::kFaultyDiskUnsafe);
  if (unsafe == nullptr) return next<int (*)(bool*)>("H5is_library_threadsafe")(threadsafe);
  *threadsafe = false;
  return 0;
}

}  // extern "C"
