#include "kill/written_runs.h"

#include <sys/wait.h>

#include <algorithm>

#include "kill/faulty_disk.h"
#include "support/catch.h"
#include "support/temporary_directory.h"

namespace gradhealth::test {

Said write_runs(const std::filesystem::path& directory, const std::string& fault, const std::string& durability,
                Environment environment) {
  environment["LD_PRELOAD"] = GRADHEALTH_FAULTY_DISK_LIBRARY;
  environment[kFaultyDisk] = fault;
  return listen({GRADHEALTH_ACKNOWLEDGING_WRITER, directory.string(), durability}, environment);
}

std::filesystem::path file_of(int part, const std::filesystem::path& directory) {
  return directory / (part == 1 ? "run.h5" : "run-2.h5");
}

std::map<std::string, std::vector<long>> points(int each) {
  const TemporaryDirectory directory;
  const Said whole = write_runs(directory.path(), "count");
  REQUIRE(WIFEXITED(whole.status));
  REQUIRE(WEXITSTATUS(whole.status) == 0);
  const std::vector<std::string> phases{"create", "rows", "columns", "close", "continue", "end"};
  std::map<std::string, std::vector<long>> result;
  for (std::size_t i = 0; i + 1 < phases.size(); ++i) {
    const long first = whole.phases.at(phases[i]) + 1, last = whole.phases.at(phases[i + 1]);
    REQUIRE(first <= last);
    std::vector<long>& calls = result[phases[i]];
    for (int j = 0; j < each; ++j) calls.push_back(first + (last - first) * j / std::max(1, each - 1));
    calls.erase(std::unique(calls.begin(), calls.end()), calls.end());
  }
  return result;
}

}  // namespace gradhealth::test
