#include "run_file/final_name.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <system_error>

#include <fmt/format.h>

#include <gradhealth/errors.h>

#include "run_file/hdf5_handle.h"

namespace gradhealth::run_file {
namespace {

namespace fs = std::filesystem;

std::string words(int error) { return std::generic_category().message(error); }

UsageError taken(const fs::path& path) {
  return UsageError(message(path, "", "the file exists", "choose another name, or let the next free name be taken"));
}

/// Returns 0 or an error number; EEXIST if `to` exists.
int rename_without_replacing(const fs::path& from, const fs::path& to) {
#ifdef RENAME_NOREPLACE
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  // Some network file systems do not know the flag.
  if (errno != EINVAL && errno != ENOSYS) return errno;
#endif
  if (::link(from.c_str(), to.c_str()) != 0) return errno;
  ::unlink(from.c_str());
  return 0;
}

fs::path numbered(const fs::path& path, int number) {
  if (number == 1) return path;
  return path.parent_path() / fmt::format("{}-{}{}", path.stem().string(), number, path.extension().string());
}

}  // namespace

void prepare_target(const fs::path& path, IfExists if_exists) {
  if (!path.has_filename())
    throw UsageError(message(path, "", "names no file", "add a file name, such as run.h5"));
  std::error_code error;
  const fs::file_status target = fs::status(path, error);
  if (fs::is_directory(target))
    throw UsageError(message(path, "", "is a directory", "add a file name, such as run.h5"));
  if (fs::exists(target) && !fs::is_regular_file(target))
    throw UsageError(message(path, "", "is not a regular file", "choose the name of a file that can be created"));
  if (if_exists == IfExists::kError && fs::exists(fs::symlink_status(path, error))) throw taken(path);
  const fs::path parent = path.parent_path();
  if (parent.empty()) return;
  fs::create_directories(parent, error);
  if (error && !fs::is_directory(parent))
    throw IoError(message(parent, "", "cannot create the directory: " + error.message(),
                          "choose a directory that can be written"));
}

fs::path temporary_name(const fs::path& path) {
  static std::atomic<unsigned> counter{0};
  return path.parent_path() / fmt::format(".{}.{}-{}.tmp", path.filename().string(), ::getpid(), counter++);
}

fs::path move_to_free_name(const fs::path& temporary, const fs::path& path, IfExists if_exists) {
  constexpr int last = 1'000'000;
  for (int number = 1; number <= last; ++number) {
    const fs::path name = numbered(path, number);
    const int error = rename_without_replacing(temporary, name);
    if (error == 0) return name;
    if (error != EEXIST)
      throw IoError(message(name, "", "cannot give the file its name: " + words(error),
                            "record to another file system"));
    if (if_exists == IfExists::kError) throw taken(path);
  }
  throw IoError(message(path, "", "no free name is left", "record to another directory"));
}

}  // namespace gradhealth::run_file
