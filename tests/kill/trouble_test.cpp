// What may happen to a writer's process and its surroundings while it writes, and what becomes of the run.
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <hdf5.h>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

#include "kill/faulty_memory.h"
#include "kill/scenario.h"
#include "run_file/sample_run.h"
#include "support/catch.h"
#include "support/temporary_directory.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace fs = std::filesystem;

/// Rows of the scenario's first part, committed one by one.
void write_rows(RunWriter& writer, std::int64_t first, std::int64_t end) {
  for (std::int64_t step = first; step < end; ++step) {
    const Run run = scenario_run(1, 0);
    writer.append(run, scenario_row(run, step, false));
    writer.flush();
  }
}

/// At least so many rows, and every one as it was written.
bool has_rows(const fs::path& file, std::int64_t rows) {
  const RunReader reader(file);
  std::int64_t step = 0;
  reader.for_each_step([&](const StepRecord& row) {
    const Run run = scenario_run(1, 0);
    if (same(row, scenario_row(run, step, false), run)) ++step;
  });
  return step == reader.rows() && step >= rows;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// In a process of its own, so that nothing of it stays in this one.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (const int signal : {SIGABRT, SIGSEGV}) ::signal(signal, SIG_DFL);  // The test runner's would report them.
    ::_exit(body());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

}  // namespace

TEST_CASE("a file that something else cuts off ends the recording with a reason", "[trouble]") {
  const TemporaryDirectory directory;
  RunWriter writer(directory / "run.h5", scenario_run(1, 0));
  write_rows(writer, 0, 10);
  const auto size = fs::file_size(directory / "run.h5");
  fs::resize_file(directory / "run.h5", size - 5000);
  write_rows(writer, 10, 20);
  const WriterStatus status = writer.status();
  CHECK(status.state == WriterState::kFailed);
  CHECK(contains(status.error, "cut the file off"));
  CHECK(contains(status.error, "run.h5"));
  CHECK(status.committed_rows == 10);
  CHECK(status.dropped_rows == 10);
  // Nothing is written into the hole: what is left is as the other one left it, but for the state.
  CHECK(fs::file_size(directory / "run.h5") <= size - 5000);
  CHECK_THROWS_AS(writer.close(), IoError);
}

TEST_CASE("a file that is cut off after its last row is not called finished", "[trouble]") {
  const TemporaryDirectory directory;
  RunWriter writer(directory / "run.h5", scenario_run(1, 0));
  write_rows(writer, 0, 10);
  fs::resize_file(directory / "run.h5", fs::file_size(directory / "run.h5") - 5000);
  CHECK_THROWS_AS(writer.close(), IoError);
}

TEST_CASE("a directory that becomes read-only or is renamed does not disturb a recording", "[trouble]") {
  const TemporaryDirectory directory;
  const fs::path place = directory / "runs", moved = directory / "moved";
  RunWriter writer(place / "run.h5", scenario_run(1, 0));
  fs::permissions(place, fs::perms::owner_read | fs::perms::owner_exec);
  write_rows(writer, 0, 5);
  fs::permissions(place, fs::perms::owner_all);
  fs::rename(place, moved);
  write_rows(writer, 5, 10);
  writer.close();
  CHECK(RunReader(moved / "run.h5").state() == RunState::kFinished);
  CHECK(has_rows(moved / "run.h5", 10));
}

TEST_CASE("a directory that is removed ends the recording with a reason", "[trouble]") {
  const TemporaryDirectory directory;
  RunWriter writer(directory / "runs/run.h5", scenario_run(1, 0));
  write_rows(writer, 0, 5);
  fs::remove_all(directory / "runs");
  write_rows(writer, 5, 10);
  CHECK(writer.status().state == WriterState::kFailed);
  CHECK(contains(writer.status().error, "was deleted"));
}

TEST_CASE("a directory in which nothing can be made is told before the training starts", "[trouble]") {
  if (::geteuid() == 0) {
    WARN("not run: root may write everywhere");
    return;
  }
  const TemporaryDirectory directory;
  fs::create_directory(directory / "runs");
  fs::permissions(directory / "runs", fs::perms::owner_read | fs::perms::owner_exec);
  CHECK_THROWS_AS(RunWriter(directory / "runs/run.h5", scenario_run(1, 0)), IoError);
  fs::permissions(directory / "runs", fs::perms::owner_all);
}

TEST_CASE("a file system that is really full ends the recording and keeps what was acknowledged", "[trouble]") {
  const TemporaryDirectory directory;
  const fs::path disk = directory / "disk";
  fs::create_directory(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=3m") != 0) {
    WARN("not run: mounting a small file system is not allowed here: " << std::strerror(errno));
    return;
  }
  {
    RunWriter writer(disk / "run.h5", scenario_run(1, 0));
    const std::int64_t in_time = 20;
    write_rows(writer, 0, in_time);
    CHECK(writer.status().committed_rows == in_time);
    std::ofstream(disk / "filler") << std::string(4 << 20, 'x');
    write_rows(writer, in_time, 1000);
    const WriterStatus status = writer.status();
    CHECK(status.state == WriterState::kFailed);
    CHECK(contains(status.error, "No space left on device"));
    fs::remove(disk / "filler");
    write_rows(writer, 1000, 1010);  // Room again: too late, and harmless.
    CHECK(has_rows(disk / "run.h5", status.committed_rows));
    CHECK(RunReader(disk / "run.h5").state() == RunState::kFailed);
    RunWriter again(disk / "run.h5", scenario_run(1, 0));
    write_rows(again, 0, 10);
    again.close();
    CHECK(has_rows(disk / "run-2.h5", 10));
  }
  ::umount2(disk.c_str(), MNT_DETACH);
}

TEST_CASE("a limit on the file's size is a failure like another", "[trouble]") {
  const TemporaryDirectory directory;
  const std::string file = (directory / "run.h5").string();
  const int status = in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 1'000'000;
    ::setrlimit(RLIMIT_FSIZE, &limit);
    RunWriter writer(file, scenario_run(1, 0));
    for (std::int64_t step = 0; step < 2000 && writer.status().state == WriterState::kRecording; step += 10)
      write_rows(writer, step, step + 10);
    return contains(writer.status().error, "File too large") && writer.status().committed_rows > 0 ? 7 : 8;
  });
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 7);
  CHECK(has_rows(file, 1));
}

TEST_CASE("abort and quick exits leave what was acknowledged", "[trouble]") {
  const std::vector<std::function<void()>> ends{[] { std::abort(); }, [] { std::quick_exit(0); }, [] { ::_exit(0); },
                                                [] { ::raise(SIGSEGV); }};
  for (const auto& end : ends) {
    const TemporaryDirectory directory;
    const std::string file = (directory / "run.h5").string();
    in_child([&] {
      rlimit no_core{};
      ::setrlimit(RLIMIT_CORE, &no_core);
      RunWriter writer(file, scenario_run(1, 0));
      write_rows(writer, 0, 20);
      end();
      return 0;
    });
    CHECK(has_rows(file, 20));
    CHECK(RunReader(file).state() == RunState::kUnfinished);
  }
}

TEST_CASE("a trainer that writes HDF5 itself in another thread gets both files", "[trouble]") {
  const TemporaryDirectory directory;
  std::atomic<bool> going{true};
  std::atomic<int> written{0};
  std::thread own([&] {
    const hid_t file = H5Fcreate((directory / "own.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hsize_t size = 1000;
    const hid_t space = H5Screate_simple(1, &size, nullptr);
    const std::vector<double> values(size, 1.5);
    for (; going; ++written) {
      const hid_t set = H5Dcreate2(file, std::to_string(written).c_str(), H5T_NATIVE_DOUBLE, space, H5P_DEFAULT,
                                   H5P_DEFAULT, H5P_DEFAULT);
      H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
      H5Dclose(set);
    }
    H5Sclose(space);
    H5Fclose(file);
  });
  {
    RunWriter writer(directory / "run.h5", scenario_run(1, 0));
    write_rows(writer, 0, 100);
    writer.close();
  }
  going = false;
  own.join();
  CHECK(has_rows(directory / "run.h5", 100));
  CHECK(written > 0);
  const hid_t file = H5Fopen((directory / "own.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  REQUIRE(file >= 0);
  CHECK(H5Lexists(file, std::to_string(written - 1).c_str(), H5P_DEFAULT) > 0);
  H5Fclose(file);
}

TEST_CASE("a trainer that closes the HDF5 library ends the recording with a reason", "[trouble]") {
  const TemporaryDirectory directory;
  const std::string file = (directory / "run.h5").string();
  const int status = in_child([&] {
    RunWriter writer(file, scenario_run(1, 0));
    write_rows(writer, 0, 20);
    H5close();
    write_rows(writer, 20, 30);
    return writer.status().state == WriterState::kFailed && writer.status().committed_rows == 20 ? 7 : 8;
  });
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 7);
  CHECK(has_rows(file, 20));
}

TEST_CASE("memory that runs out anywhere in a call ends the recording, not the program", "[trouble]") {
  const TemporaryDirectory directory;
  int failures = 0;
  for (long allocation = 1; allocation < 400; allocation += allocation < 60 ? 1 : 17) {
    const fs::path file = directory / ("run" + std::to_string(allocation) + ".h5");
    Run run = scenario_run(1, 0);
    RunWriter writer(file, run);
    write_rows(writer, 0, 3);
    run.of(Axis::kActivation).push_back({"a name that is too long to be stored without memory", "m", "linear", "8", "float32", 4});
    const StepRecord row = scenario_row(run, 3, false);
    const Event event{100, "a kind that is too long to be stored without memory", "", ""};
    {
      const FailingMemory failing(allocation);
      writer.append(run, row);
      writer.append(event);
    }
    writer.flush();
    for (std::int64_t step = 4; step < 8; ++step) writer.append(run, scenario_row(run, step, false));
    writer.flush();
    const WriterStatus status = writer.status();
    CHECK(status.committed_rows + status.dropped_rows == 8);
    CHECK(has_rows(file, 3));
    if (status.state == WriterState::kRecording) continue;
    ++failures;
    CHECK(contains(status.error, "no memory"));
    CHECK(contains(status.error, file.string()));
    CHECK_THROWS_AS(writer.close(), IoError);
    CHECK(RunReader(file).state() == RunState::kFailed);
  }
  CHECK(failures > 20);
}

TEST_CASE("memory that runs out while a batch is written ends the recording, not the program", "[trouble]") {
  const TemporaryDirectory directory;
  int failures = 0;
  for (long allocation = 1; allocation < 200; allocation += 3) {
    const fs::path file = directory / ("run" + std::to_string(allocation) + ".h5");
    RunWriter writer(file, scenario_run(1, 0));
    write_rows(writer, 0, 3);
    {
      const FailingMemory failing(allocation, FailingMemory::Threads::kOthers);
      write_rows(writer, 3, 5);
    }
    const WriterStatus status = writer.status();
    CHECK(status.committed_rows + status.dropped_rows == 5);
    CHECK(has_rows(file, status.committed_rows));
    failures += status.state == WriterState::kFailed;
    if (status.state == WriterState::kFailed) CHECK_FALSE(status.error.empty());
  }
  CHECK(failures > 20);
}

TEST_CASE("a writer that has failed takes no processor time", "[trouble]") {
  const TemporaryDirectory directory;
  WriterOptions options;
  options.flush_period = std::chrono::milliseconds(1);
  RunWriter writer(directory / "run.h5", scenario_run(1, 0), options);
  write_rows(writer, 0, 3);
  const Run run = scenario_run(1, 0);
  const StepRecord row = scenario_row(run, 3, true);
  {
    const FailingMemory failing(1);
    writer.append(run, row);
  }
  CHECK(writer.status().state == WriterState::kFailed);
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC < 0.1);
}
