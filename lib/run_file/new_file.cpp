#include "run_file/new_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>

#include <fmt/format.h>

#include <gradhealth/errors.h>

namespace gradhealth::run_file {
namespace {

constexpr int kMostNames = 10'000;

[[noreturn]] void fail_taken(const std::filesystem::path& path) {
  throw UsageError(fmt::format("{}: exists already; choose another path, remove it, or let the next free name be taken "
                               "(IfExists::kNextName)", path.string()));
}

/// 0 or an errno; EEXIST if the name is taken.
int rename_without_overwriting(const std::filesystem::path& from, const std::filesystem::path& to) {
#ifdef RENAME_NOREPLACE
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
#endif
  // File systems that cannot do it at once: a link never overwrites either.
  if (::link(from.c_str(), to.c_str()) != 0) return errno;
  ::unlink(from.c_str());
  return 0;
}

}  // namespace

void prepare_path(const std::filesystem::path& path, IfExists if_exists) {
  if (!path.has_filename()) throw UsageError(fmt::format("'{}' names no file; give the run file's name", path.string()));
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::symlink_status(path, error);
  if (std::filesystem::is_directory(status))
    throw UsageError(fmt::format("{}: is a directory; give the run file's name", path.string()));
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status) && !std::filesystem::is_symlink(status))
    throw UsageError(fmt::format("{}: is no ordinary file; choose another path", path.string()));
  if (std::filesystem::exists(status) && if_exists == IfExists::kError) fail_taken(path);
  if (!path.has_parent_path()) return;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error)
    throw IoError(fmt::format("{}: the directory {} cannot be made: {}; choose another path or make it writable",
                              path.string(), path.parent_path().string(), error.message()));
}

std::filesystem::path temporary_name(const std::filesystem::path& path) {
  static std::atomic<int> count{0};
  std::filesystem::path name = path;
  name += fmt::format(".{}-{}.tmp", ::getpid(), count++);
  return name;
}

std::filesystem::path numbered_name(const std::filesystem::path& path, int number) {
  if (number == 1) return path;
  return path.parent_path() / fmt::format("{}-{}{}", path.stem().string(), number, path.extension().string());
}

std::filesystem::path publish(const std::filesystem::path& temporary, const std::filesystem::path& path,
                              IfExists if_exists) {
  for (int number = 1; number <= kMostNames; ++number) {
    const std::filesystem::path name = numbered_name(path, number);
    const int error = rename_without_overwriting(temporary, name);
    if (error == 0) return name;
    if (error != EEXIST)
      throw IoError(fmt::format("{}: cannot be created: {}", name.string(), std::strerror(error)));
    if (if_exists == IfExists::kError) fail_taken(path);
  }
  throw IoError(fmt::format("{}: this and the next {} names are taken; tidy up the directory", path.string(), kMostNames));
}

void name_reaches_disk(const std::filesystem::path& path) {
  const std::filesystem::path directory = path.has_parent_path() ? path.parent_path() : ".";
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool taken = descriptor >= 0 && ::fsync(descriptor) == 0;
  const int error = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (!taken)
    throw IoError(fmt::format("{}: the disk did not take the file's name: {}; without Durability::kPower the run can "
                              "still be recorded", path.string(), std::strerror(error)));
}

}  // namespace gradhealth::run_file
