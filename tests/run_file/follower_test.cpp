#include <filesystem>
#include <string>
#include <vector>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

#include "run_file/sample_run.h"
#include "support/catch.h"
#include "support/temporary_directory.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

/// A run file at another moment: HDF5 shares what it knows of a file between a writer and a reader of one process, so
/// that the follower is given copies.
class Growing {
 public:
  explicit Growing(const TemporaryDirectory& directory)
      : seen_(directory / "run.h5"), alive_(directory / "alive.h5"), writer_(alive_, run) {}

  void append(std::int64_t steps) {
    for (std::int64_t i = 0; i < steps; ++i) writer_.append(run, sample_row(run, next_++));
  }
  void append(const Event& event) { writer_.append(event); }
  /// Makes the file look as the writer's does now. Keeps its identity.
  void show() {
    writer_.flush();
    std::filesystem::copy_file(alive_, seen_, std::filesystem::copy_options::overwrite_existing);
  }
  void close() {
    writer_.close();
    std::filesystem::copy_file(alive_, seen_, std::filesystem::copy_options::overwrite_existing);
  }

  Run run = sample_run();

 private:
  std::filesystem::path seen_, alive_;
  RunWriter writer_;
  std::int64_t next_ = 0;
};

std::vector<StepRecord> new_rows(RunFollower& follower) {
  std::vector<StepRecord> rows;
  follower.for_each_new_step([&](const StepRecord& row) { rows.push_back(row); });
  return rows;
}

}  // namespace

TEST_CASE("a follower visits every row once, with its events and new subjects", "[run_file]") {
  TemporaryDirectory directory;
  RunFollower follower(directory / "run.h5");
  CHECK_THROWS_AS(follower.refresh(), IoError);
  CHECK(new_rows(follower).empty());

  Growing file(directory);
  file.append(5);
  file.show();
  CHECK(follower.refresh() == FileChange::kNew);
  CHECK(follower.rows() == 5);
  const std::vector<StepRecord> first = new_rows(follower);
  REQUIRE(first.size() == 5);
  CHECK(first[4].events.size() == 1);
  CHECK(new_rows(follower).empty());
  CHECK(follower.refresh() == FileChange::kNone);

  file.run.of(Axis::kActivation).push_back({"late", "", "tap", "1", "float32", 1});
  file.append(2000);
  file.show();
  CHECK(follower.refresh() == FileChange::kGrown);
  CHECK(follower.run().of(Axis::kActivation).size() == 1);
  const std::vector<StepRecord> rows = new_rows(follower);
  REQUIRE(rows.size() == 2000);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(i);
    REQUIRE(same(rows[i], sample_row(file.run, static_cast<std::int64_t>(i) + 5), file.run));
  }
  CHECK(follower.state() == RunState::kUnfinished);
  file.close();
  CHECK(follower.refresh() == FileChange::kGrown);
  CHECK(follower.state() == RunState::kFinished);
  CHECK(new_rows(follower).empty());
  CHECK(follower.refresh() == FileChange::kNone);
}

TEST_CASE("an event ahead of its row waits for it, and a late one comes with the next row", "[run_file]") {
  TemporaryDirectory directory;
  Growing file(directory);
  RunFollower follower(directory / "run.h5");
  file.append(2);
  file.append(Event{3, "early", "", ""});
  file.append(Event{1000, "far", "", ""});
  file.show();
  follower.refresh();
  for (const StepRecord& row : new_rows(follower)) CHECK(row.events.empty());
  file.append(Event{1, "late", "", ""});
  file.append(2);
  file.show();
  CHECK(follower.refresh() == FileChange::kGrown);
  const std::vector<StepRecord> rows = new_rows(follower);
  REQUIRE(rows.size() == 2);
  REQUIRE(rows[0].events.size() == 1);
  CHECK(rows[0].events[0].kind == "late");
  REQUIRE(rows[1].events.size() == 1);
  CHECK(rows[1].events[0].kind == "early");
}

TEST_CASE("another file under the same name starts from the beginning", "[run_file]") {
  TemporaryDirectory directory;
  RunFollower follower(directory / "run.h5");
  const Run run = sample_run();
  const auto write = [&](std::int64_t rows) {
    std::filesystem::remove(directory / "run.h5");
    RunWriter writer(directory / "run.h5", run);
    for (std::int64_t step = 0; step < rows; ++step) writer.append(run, sample_row(run, step));
    writer.close();
  };
  write(3);
  CHECK(follower.refresh() == FileChange::kNew);
  CHECK(new_rows(follower).size() == 3);
  for (const std::int64_t rows : {3, 8, 2, 2}) {
    write(rows);
    CHECK(follower.refresh() == FileChange::kNew);
    CHECK(static_cast<std::int64_t>(new_rows(follower).size()) == rows);
  }
  std::filesystem::remove(directory / "run.h5");
  CHECK_THROWS_AS(follower.refresh(), IoError);
  CHECK(follower.rows() == 2);
  CHECK(new_rows(follower).empty());
}
