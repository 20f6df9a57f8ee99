#include <algorithm>
#include <system_error>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

#include "run_file/hdf5_handle.h"

namespace gradhealth {

std::vector<std::filesystem::path> run_files(const std::filesystem::path& run) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::file_status status = fs::status(run, error);
  if (!fs::exists(status))
    throw IoError(run_file::message(run, "", "cannot open: " + error.message(), "check the name and the permissions"));
  if (!fs::is_directory(status)) return {run};

  std::vector<fs::path> files;
  fs::directory_iterator entries(run, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    std::error_code ignored;
    if (entries->path().extension() == ".h5" && entries->is_regular_file(ignored)) files.push_back(entries->path());
  }
  if (error)
    throw IoError(run_file::message(run, "", "cannot list the directory: " + error.message(), "check its permissions"));
  if (files.empty())
    throw IoError(run_file::message(run, "", "the directory holds no run file (*.h5)", "name the directory of a run"));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace gradhealth
