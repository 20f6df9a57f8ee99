#pragma once

#include <filesystem>

#include <gradhealth/run_file.h>

namespace gradhealth::run_file {

/// Throws where no run file can be: a directory, a device, a taken name under IfExists::kError.
/// Creates missing parent directories.
/// @throws UsageError, IoError
void prepare_target(const std::filesystem::path& path, IfExists if_exists);

/// A name in the same directory that no other writer uses, for the file until it is ready.
std::filesystem::path temporary_name(const std::filesystem::path& path);

/// Renames without ever replacing a file; the name that was free in the end.
/// @throws UsageError if the name is taken under IfExists::kError, IoError
std::filesystem::path move_to_free_name(const std::filesystem::path& temporary, const std::filesystem::path& path,
                                        IfExists if_exists);

}  // namespace gradhealth::run_file
