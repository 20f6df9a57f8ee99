#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace gradhealth::hostile {

struct Ran {
  int exit_code = -1;    ///< -1: it did not end by itself.
  int signal = 0;        ///< What ended it, else 0.
  long megabytes = 0;    ///< The most that was resident.
  double seconds = 0;    ///< Of processor time.
  bool crashed = false;  ///< HDF5 did, within the child process that is there for it.
  bool hung = false;     ///< The same.
  std::string out;
  std::string err;
};

/// Runs the command as its main() does, in a process that has forked from this one: confined, with 1 GiB of address
/// space (no limit under AddressSanitizer) and 120 s in all. A crash or an endless loop that is not HDF5's ends with
/// exit code 125. `directory` is where it runs.
Ran run_limited(const std::vector<std::string>& arguments, const std::filesystem::path& directory);

std::string content_of(const std::filesystem::path& path);

}  // namespace gradhealth::hostile
