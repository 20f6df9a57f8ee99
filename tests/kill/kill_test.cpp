// What is left of a run whose process is killed in the middle of writing it. CTest runs a part of this in seconds;
// all of it: kill_tests "[whole]"
#include <signal.h>
#include <sys/wait.h>

#include <filesystem>
#include <iostream>
#include <string>

#include <gradhealth/run_file.h>

#include "kill/child.h"
#include "kill/scenario.h"
#include "kill/written_runs.h"
#include "support/catch.h"
#include "support/temporary_directory.h"
#include "tools/shell.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace fs = std::filesystem;

/// Every part that was acknowledged, and what recover makes of it.
void check_files(const fs::path& directory, const Said& said) {
  for (const auto& [part, rows] : said.acknowledged) {
    const fs::path file = file_of(part, directory);
    CHECK(complaint(file, part, rows) == "");
    const fs::path fixed = directory / "fixed.h5";
    const Recovery recovery = recover(file, fixed);
    CHECK(recovery.lost.empty());
    CHECK(complaint(fixed, part, RunReader(file).rows()) == "");
    fs::remove(fixed);
  }
  // A file gets its name once it can be read.
  for (const int part : {1, 2})
    if (said.acknowledged.count(part) == 0 && fs::exists(file_of(part, directory)))
      CHECK(complaint(file_of(part, directory), part, 0) == "");
}

/// Every command reads the run; none says that an unfinished one is healthy.
void check_tools(const fs::path& directory, const Said& said) {
  if (said.acknowledged.count(1) == 0) return;
  const Folder folder;
  const std::string run = "'" + file_of(1, directory).string() + "'";
  CHECK(folder.gradhealth("report " + run).exit_code == 0);
  CHECK(folder.gradhealth("report " + run + " -o run.html").exit_code == 0);
  const Ran check = folder.gradhealth("check " + run + " --json run.json");
  CHECK((check.exit_code == 1 || check.exit_code == 2));
  CHECK(read(folder / "run.json").find("\"verdict\"") != std::string::npos);
  CHECK(folder.gradhealth("export " + run + " --to csv -o values.csv").exit_code == 0);
  CHECK(folder.gradhealth("watch --once " + run).exit_code == 0);
  CHECK(folder.gradhealth("recover " + run + " -o fixed.h5").exit_code == 0);
  CHECK(complaint(folder / "fixed.h5", 1, said.acknowledged.at(1)) == "");
}

int kill_everywhere(const std::string& action, int each, int tools_each) {
  int count = 0;
  for (const auto& [phase, calls] : points(each)) {
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const TemporaryDirectory directory;
      const std::string fault = action + ":" + std::to_string(calls[i]);
      CAPTURE(phase, fault);
      const Said said = write_runs(directory.path(), fault);
      REQUIRE(WIFSIGNALED(said.status));
      REQUIRE(WTERMSIG(said.status) == SIGKILL);
      check_files(directory.path(), said);
      if (i % static_cast<std::size_t>(each / tools_each) == 0) check_tools(directory.path(), said);
      ++count;
    }
  }
  return count;
}

}  // namespace

TEST_CASE("the writer's run is read back when nothing is done to it", "[kill]") {
  const TemporaryDirectory directory;
  const Said said = write_runs(directory.path(), "count");
  CHECK(said.acknowledged.at(1) == kFirstPartRows);
  CHECK(said.acknowledged.at(2) == kSecondPartRows);
  check_files(directory.path(), said);
  CHECK(RunReader(directory / "run.h5").state() == RunState::kFinished);
  // The checks see what is missing.
  CHECK(complaint(directory / "run.h5", 1, kFirstPartRows + 1) != "");
  CHECK(complaint(directory / "run-2.h5", 1, 0) != "");
}

TEST_CASE("no acknowledged row is lost by a kill before a write call", "[kill]") {
  CHECK(kill_everywhere("kill", 6, 1) >= 25);
}

TEST_CASE("no acknowledged row is lost by a kill before any write call", "[.][whole]") {
  const int count = kill_everywhere("kill", 80, 4);
  std::cout << count << " kills before a write call\n";
  CHECK(count >= 250);
}

TEST_CASE("no acknowledged row is lost by a kill within any write call", "[.][whole]") {
  const int count = kill_everywhere("tear", 80, 4);
  std::cout << count << " kills within a write call, after its first page\n";
  CHECK(count >= 250);
}
