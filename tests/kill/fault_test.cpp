// Disks that fail while a run is written: the writing program goes on, says why its recording has stopped, and what was
// acknowledged stays readable.
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <string>

#include <gradhealth/run_file.h>

#include "kill/child.h"
#include "kill/faulty_disk.h"
#include "kill/scenario.h"
#include "kill/written_runs.h"
#include "support/catch.h"
#include "support/temporary_directory.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// The part whose recording has failed tells why, on the file's name, and is otherwise as it was acknowledged.
void check_failed(int part, const Said& said, const std::filesystem::path& directory, int error) {
  REQUIRE(said.failed.count(part) == 1);
  CHECK(contains(said.failed.at(part), file_of(part, directory).string()));
  CHECK(contains(said.failed.at(part), std::strerror(error)));
  CHECK(!contains(said.failed.at(part), "time ="));  // HDF5's own words.
  const RunReader reader(file_of(part, directory));
  // Only HDF5's last blocks can fail once the run says that it is finished.
  const bool complete = reader.state() == RunState::kFinished &&
                        reader.rows() == (part == 1 ? kFirstPartRows : kSecondPartRows);
  // A dead disk does not even take that.
  const bool unsaid = error == EIO && reader.state() == RunState::kUnfinished;
  CHECK((reader.state() == RunState::kFailed || complete || unsaid));
}

/// @param fault how it goes on behind "ACTION:CALL".
int fail_everywhere(const std::string& action, const std::string& rest, int error, int each) {
  int failures = 0;
  for (const auto& [phase, calls] : points(each)) {
    for (const long call : calls) {
      const TemporaryDirectory directory;
      const std::string fault = action + ":" + std::to_string(call) + rest;
      CAPTURE(phase, fault);
      const Said said = write_runs(directory.path(), fault);
      REQUIRE(WIFEXITED(said.status));
      ++failures;
      if (WEXITSTATUS(said.status) != 0) {
        // A file that cannot be created is told by an exception; nothing is left behind.
        CHECK(WEXITSTATUS(said.status) == 3);
        CHECK(said.acknowledged.count(2) == 0);
        for (const auto& entry : std::filesystem::directory_iterator(directory.path()))
          CHECK((said.acknowledged.count(1) != 0 && entry.path() == file_of(1, directory.path())));
      }
      for (const auto& [part, rows] : said.acknowledged) CHECK(complaint(file_of(part, directory.path()), part, rows) == "");
      for (const int part : {1, 2})
        if (said.failed.count(part) != 0) check_failed(part, said, directory.path(), error);
      CHECK((!said.failed.empty() || WEXITSTATUS(said.status) == 3 || action == "full"));
    }
  }
  return failures;
}

}  // namespace

TEST_CASE("a full disk ends the recording with a reason and keeps what was acknowledged", "[fault]") {
  CHECK(fail_everywhere("full", ":1000000", ENOSPC, 5) >= 15);
}

TEST_CASE("space that is freed after a failed write does not spoil what was acknowledged", "[fault]") {
  CHECK(fail_everywhere("fail", ":1:" + std::to_string(ENOSPC), ENOSPC, 5) >= 15);
}

TEST_CASE("a failure of any write call costs no acknowledged row", "[.][whole]") {
  const int full = fail_everywhere("full", ":1000000", ENOSPC, 60);
  const int once = fail_everywhere("fail", ":1:" + std::to_string(ENOSPC), ENOSPC, 60);
  const int dead = fail_everywhere("fail", ":1000000:" + std::to_string(EIO), EIO, 60);
  std::cout << full << " disks that are full for good, " << once << " for one call, " << dead << " dead disks\n";
  CHECK(full + once + dead >= 600);
}

TEST_CASE("write calls that are interrupted or write a part are finished", "[fault]") {
  for (const char* fault : {"short:100:40000", "fail:7000:1:4"}) {
    const TemporaryDirectory directory;
    CAPTURE(fault);
    const Said said = write_runs(directory.path(), fault);
    CHECK(WIFEXITED(said.status));
    CHECK(said.failed.empty());
    CHECK(complaint(file_of(1, directory.path()), 1, kFirstPartRows) == "");
    CHECK(complaint(file_of(2, directory.path()), 2, kSecondPartRows) == "");
  }
}

TEST_CASE("a disk that does not take what it was given ends the recording where that was asked for", "[fault]") {
  for (const int first : {1, 8, 31, 103}) {
    const TemporaryDirectory directory;
    CAPTURE(first);
    const Said said = write_runs(directory.path(), "sync:" + std::to_string(first) + ":1:" + std::to_string(EIO), "power");
    REQUIRE(WIFEXITED(said.status));
    if (first == 1) {
      CHECK(WEXITSTATUS(said.status) == 3);  // The file could not be created.
      continue;
    }
    check_failed(1, said, directory.path(), EIO);
    for (const auto& [part, rows] : said.acknowledged) CHECK(complaint(file_of(part, directory.path()), part, rows) == "");
  }
}

TEST_CASE("nothing is synchronised that nobody asked for", "[fault]") {
  const TemporaryDirectory directory;
  const Said said = write_runs(directory.path(), "sync:1:1000000:" + std::to_string(EIO));
  CHECK(said.failed.empty());
  CHECK(complaint(file_of(1, directory.path()), 1, kFirstPartRows) == "");
}

TEST_CASE("without a thread-safe HDF5 the caller writes, and nothing is lost to a kill or a full disk", "[fault]") {
  for (const std::string& fault : {std::string("count"), std::string("kill:9000"), "fail:9000:1:" + std::to_string(ENOSPC)}) {
    const TemporaryDirectory directory;
    CAPTURE(fault);
    const Said said = write_runs(directory.path(), fault, "process", {{kFaultyDiskUnsafe, "1"}});
    for (const auto& [part, rows] : said.acknowledged) CHECK(complaint(file_of(part, directory.path()), part, rows) == "");
    if (fault == "count") CHECK(said.acknowledged.at(1) == kFirstPartRows);
    if (fault == "kill:9000") CHECK(WIFSIGNALED(said.status));
    if (fault[0] == 'f') check_failed(1, said, directory.path(), ENOSPC);
  }
}
