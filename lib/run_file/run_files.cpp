#include <algorithm>
#include <system_error>

#include <fmt/format.h>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

#include "run_file/new_file.h"

namespace gradhealth {

std::optional<std::filesystem::path> latest_part(const std::filesystem::path& path) {
  std::optional<std::filesystem::path> latest;
  std::error_code ignored;
  for (int number = 1;; ++number) {
    std::filesystem::path name = run_file::numbered_name(path, number);
    if (!std::filesystem::exists(std::filesystem::symlink_status(name, ignored))) return latest;
    latest = std::move(name);
  }
}

std::vector<std::filesystem::path> run_files(const std::filesystem::path& run) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(run, error);
  if (!std::filesystem::exists(status))
    throw IoError(fmt::format("{}: does not exist; give a run file or a directory of run files", run.string()));
  if (!std::filesystem::is_directory(status)) return {run};
  std::vector<std::filesystem::path> files;
  for (std::filesystem::directory_iterator it(run, error), end; !error && it != end; it.increment(error))
    if (it->path().extension() == ".h5") files.push_back(it->path());
  if (error) throw IoError(fmt::format("{}: cannot be listed: {}", run.string(), error.message()));
  if (files.empty()) throw IoError(fmt::format("{}: holds no run file (*.h5)", run.string()));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace gradhealth
