// A LibTorch training that is killed, or has its recording disturbed: what was acknowledged stays readable, and the
// training ends with the same weights as without a monitor. All of it: trainer_tests "[whole]"
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gradhealth/run_file.h>

#include "kill/child.h"
#include "kill/faulty_disk.h"
#include "support/catch.h"
#include "support/temporary_directory.h"
#include "tools/shell.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kReferenceSteps = 6000;
constexpr const char* kSteps = "90";

fs::path file_in(const fs::path& directory) { return directory / "runs/run.h5"; }

std::vector<StepRecord> rows_of(const fs::path& file, std::size_t most) {
  std::vector<StepRecord> rows;
  RunReader(file).for_each_step([&](const StepRecord& row) {
    if (rows.size() < most) rows.push_back(row);
  });
  return rows;
}

bool depends_on_the_clock(Quantity quantity) { return quantity == Quantity::kStepTime; }

bool same_numbers(const StepRecord& a, const StepRecord& b) {
  if (a.step != b.step) return false;
  for (const QuantityInfo& quantity : quantities()) {
    if (depends_on_the_clock(quantity.id)) continue;
    const std::size_t count = std::max(a.values(quantity.id).size(), b.values(quantity.id).size());
    for (std::size_t i = 0; i < count; ++i) {
      const double x = a.at(quantity.id, i), y = b.at(quantity.id, i);
      if (!(x == y || (std::isnan(x) && std::isnan(y)))) return false;
    }
  }
  return true;
}

Said train(const fs::path& directory, const std::string& mode, const std::string& fault = {},
           Environment environment = {}) {
  environment["CI"] = "1";
  if (!fault.empty()) {
    environment["LD_PRELOAD"] = GRADHEALTH_FAULTY_DISK_LIBRARY;
    environment[kFaultyDisk] = fault;
  }
  return listen({"/bin/sh", "-c", "exec \"$0\" \"$@\" 2>'" + (directory / "stderr").string() + "'",
                 GRADHEALTH_TORCH_TRAINER, directory.string(), mode, kSteps},
                environment);
}

const std::string& bare_weights() {
  static const std::string weights = [] {
    const TemporaryDirectory directory;
    return train(directory.path(), "bare").weights;
  }();
  return weights;
}

long lines_about(const fs::path& directory, const std::string& text) {
  std::ifstream errors(directory / "stderr");
  long count = 0;
  for (std::string line; std::getline(errors, line);) count += line.find(text) != std::string::npos;
  return count;
}

/// DisableRecordFunctionGuard allocates in its destructor, which cannot throw.
bool ended_by_libtorch(const Said& said, const fs::path& directory) {
  return WIFSIGNALED(said.status) && lines_about(directory, "terminate called after throwing") == 1;
}

void kill_trainers(int kills, int tools_every) {
  const TemporaryDirectory reference;
  const Said whole = listen({GRADHEALTH_TORCH_TRAINER, reference.path().string(), "forever", std::to_string(kReferenceSteps)});
  REQUIRE(WIFEXITED(whole.status));
  const std::vector<StepRecord> expected = rows_of(file_in(reference.path()), kReferenceSteps);
  REQUIRE(expected.size() == kReferenceSteps);
  std::mt19937 random(17);
  std::int64_t most = 0;
  for (int i = 0; i < kills; ++i) {
    const TemporaryDirectory directory;
    Said said;
    {
      Child child({GRADHEALTH_TORCH_TRAINER, directory.path().string(), "forever", "1000000000"});
      std::string line;
      REQUIRE(child.read_line(line));
      hear(line, said);
      const auto moment = std::chrono::microseconds(std::uniform_int_distribution<int>(0, 900'000)(random));
      CAPTURE(i, moment.count());
      std::thread killer([&] {
        std::this_thread::sleep_for(moment);
        child.kill();
      });
      while (child.read_line(line)) hear(line, said);
      killer.join();
      said.status = child.wait();
    }
    REQUIRE(WIFSIGNALED(said.status));
    CHECK(WTERMSIG(said.status) == SIGKILL);
    const fs::path file = file_in(directory.path());
    const RunReader reader(file);
    CHECK(reader.rows() >= said.acknowledged.at(1));
    CHECK(reader.state() == RunState::kUnfinished);
    most = std::max(most, reader.rows());
    const std::vector<StepRecord> rows = rows_of(file, expected.size());
    std::size_t right = 0;
    while (right < rows.size() && same_numbers(rows[right], expected[right])) ++right;
    CHECK(right == rows.size());
    const fs::path fixed = directory / "fixed.h5";
    CHECK(recover(file, fixed).lost.empty());
    CHECK(RunReader(fixed).rows() == reader.rows());
    if (i % tools_every != 0) continue;
    const Folder folder;
    const std::string run = "'" + file.string() + "'";
    CHECK(folder.gradhealth("report " + run).exit_code == 0);
    const int verdict = folder.gradhealth("check " + run).exit_code;
    CHECK((verdict == 1 || verdict == 2));
    CHECK(folder.gradhealth("export " + run + " --to csv -o values.csv").exit_code == 0);
  }
  std::cout << kills << " trainers killed, the longest run had " << most << " rows\n";
}

// As torch_trainer prints them: this program does not know LibTorch.
enum class MonitorState { kClosed = 1, kDisabled = 2 };

struct Trouble {
  std::string mode;
  std::string fault;
  std::string says;  ///< In the status and in one line on stderr; empty: nothing.
  MonitorState state;
};

}  // namespace

TEST_CASE("a LibTorch trainer that is killed leaves every acknowledged row", "[kill]") { kill_trainers(10, 5); }

TEST_CASE("a LibTorch trainer that is killed at any moment leaves every acknowledged row", "[.][whole]") {
  kill_trainers(100, 10);
}

TEST_CASE("whatever happens to the recording, the weights are those of the bare training", "[fault]") {
  const std::string full = "No space left on device", faulty = "Input/output error";
  const std::vector<Trouble> troubles{
      {"record", "", "", MonitorState::kClosed},
      {"power", "", "", MonitorState::kClosed},
      {"slow", "full:300:1000000", full, MonitorState::kDisabled},
      {"slow", "fail:300:1:" + std::to_string(ENOSPC), full, MonitorState::kDisabled},
      {"record", "fail:300:1:" + std::to_string(EIO), faulty, MonitorState::kDisabled},
      {"power", "sync:4:1:" + std::to_string(EIO), faulty, MonitorState::kDisabled},
      {"record", "delay:200:500:2", "", MonitorState::kClosed},
      {"delete", "", "was deleted", MonitorState::kDisabled},
      {"directory", "", "was deleted", MonitorState::kDisabled},
      {"cut", "", "cut the file off", MonitorState::kDisabled},
      {"existing", "", "", MonitorState::kClosed},
      {"two", "", "", MonitorState::kClosed},
      {"hdf5", "", "", MonitorState::kClosed},
      {"rule", "", "the rule a-rule-with-a-bug failed: a bug in a rule", MonitorState::kDisabled},
      {"fork", "", "", MonitorState::kClosed},
  };
  for (const Trouble& trouble : troubles) {
    const TemporaryDirectory directory;
    CAPTURE(trouble.mode, trouble.fault);
    const Said said = train(directory.path(), trouble.mode, trouble.fault);
    REQUIRE(WIFEXITED(said.status));
    CHECK(WEXITSTATUS(said.status) == 0);
    CHECK(said.weights == bare_weights());
    CHECK(said.state == static_cast<int>(trouble.state));
    CHECK(said.failed.count(2) == 0);
    if (trouble.says.empty()) {
      CHECK(said.failed.count(1) == 0);
    } else {
      CHECK(said.failed.at(1).find(trouble.says) != std::string::npos);
      CHECK(lines_about(directory.path(), trouble.says) == 1);
    }
    CHECK(lines_about(directory.path(), "HDF5-DIAG") == 0);
    if (trouble.mode == "delete" || trouble.mode == "directory" || trouble.mode == "cut") continue;
    const fs::path file = trouble.mode == "existing" ? directory / "runs/run-2.h5" : file_in(directory.path());
    const RunReader reader(file);
    CHECK(reader.rows() >= said.acknowledged.at(1));
    const bool finished = trouble.state == MonitorState::kClosed;
    CHECK(reader.state() == (finished ? RunState::kFinished : RunState::kFailed));
    if (finished) CHECK(reader.rows() == std::stoll(kSteps));
  }
}

TEST_CASE("memory that runs out in step() ends the recording, which says so, and not the training", "[fault]") {
  bool ended = false;
  // Which allocation is the monitor's own depends on LibTorch: the first ones may be its own, which it does without, or
  // in the destructors of its guards, which end the program.
  for (int allocation = 1; allocation <= 60 && !ended; ++allocation) {
    const TemporaryDirectory directory;
    CAPTURE(allocation);
    const Said said = train(directory.path(), "memory" + std::to_string(allocation));
    if (ended_by_libtorch(said, directory.path())) continue;
    REQUIRE(WIFEXITED(said.status));
    CHECK(said.weights == bare_weights());
    if (said.state != static_cast<int>(MonitorState::kDisabled)) continue;
    CHECK(lines_about(directory.path(), "recording has stopped") == 1);
    // Where the watch on the gradients was hit, the reason is that it has failed.
    ended = said.failed.at(1).find("bad_alloc") != std::string::npos;
    CHECK(lines_about(directory.path(), said.failed.at(1)) == 1);
    const RunReader reader(file_in(directory.path()));
    CHECK(reader.rows() >= said.acknowledged.at(1));
    CHECK(reader.state() == RunState::kFailed);
  }
  CHECK(ended);
}

TEST_CASE("with an HDF5 that is not thread-safe the trainer's thread writes", "[fault]") {
  const TemporaryDirectory directory;
  const Said said = train(directory.path(), "record", "count", {{kFaultyDiskUnsafe, "1"}});
  CHECK(said.weights == bare_weights());
  CHECK(RunReader(file_in(directory.path())).rows() == std::stoll(kSteps));
}

TEST_CASE("a trainer that aborts or exits without closing leaves what was acknowledged", "[fault]") {
  for (const char* mode : {"abort", "exit"}) {
    const TemporaryDirectory directory;
    CAPTURE(mode);
    const Said said = train(directory.path(), mode);
    CHECK((mode == std::string("exit") ? WIFEXITED(said.status) : WIFSIGNALED(said.status)));
    const RunReader reader(file_in(directory.path()));
    CHECK(reader.state() == RunState::kUnfinished);
    CHECK(reader.rows() >= said.acknowledged.at(1));
    if (mode == std::string("exit")) CHECK(said.weights == bare_weights());
  }
}

TEST_CASE("memory that runs out anywhere in step() leaves the training as it is", "[.][whole]") {
  int disabled = 0;
  int by_libtorch = 0;
  for (int allocation = 1; allocation <= 1200; allocation += allocation < 40 ? 1 : 29) {
    const TemporaryDirectory directory;
    const std::string mode = "memory" + std::to_string(allocation);
    CAPTURE(mode);
    const Said said = train(directory.path(), mode);
    if (ended_by_libtorch(said, directory.path())) {
      ++by_libtorch;
      continue;
    }
    REQUIRE(WIFEXITED(said.status));
    CHECK(WEXITSTATUS(said.status) == 0);
    CHECK(said.weights == bare_weights());
    disabled += said.state == static_cast<int>(MonitorState::kDisabled);
    CHECK(RunReader(file_in(directory.path())).rows() >= said.acknowledged.at(1));
  }
  std::cout << disabled << " recordings ended for lack of memory\n";
  CHECK(disabled > 20);
  CHECK(by_libtorch < 10);
}
