#pragma once

#include <filesystem>

#include <gradhealth/run_file.h>

namespace gradhealth::run_file {

/// Checks that a run file can be created there, and makes missing directories.
/// @throws UsageError for a path that cannot be a run file, or a taken one (IfExists::kError); IoError if a directory
/// cannot be made.
void prepare_path(const std::filesystem::path& path, IfExists if_exists);

/// run.h5 for 1, run-2.h5 for 2.
std::filesystem::path numbered_name(const std::filesystem::path& path, int number);

/// A name beside `path` that no other process uses.
std::filesystem::path temporary_name(const std::filesystem::path& path);

/// Gives a finished temporary file its name, without ever overwriting one: `path`, or with IfExists::kNextName the
/// first free one of path, path-2, path-3, …
/// @return the name it got.
/// @throws UsageError if the name is taken (IfExists::kError); IoError if renaming fails.
std::filesystem::path publish(const std::filesystem::path& temporary, const std::filesystem::path& path,
                              IfExists if_exists);

/// Waits until the disk knows the file's name. @throws IoError
void name_reaches_disk(const std::filesystem::path& path);

}  // namespace gradhealth::run_file
