// Writes the run of scenario.h to DIRECTORY/run.h5 and run-2.h5, and says on its standard output what a reader may
// count on from then on:
//   acknowledged PART ROWS   so many rows, and everything before them, are committed
//   phase NAME CALLS         begins after so many write calls (0 without faulty_disk)
//   failed PART ERROR        the first failure; writing goes on as a trainer would
//   microseconds NUMBER      spent in all calls of the writer for the first part
// acknowledging_writer DIRECTORY [process|power]
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include <gradhealth/run_file.h>

#include "kill/faulty_disk.h"
#include "kill/scenario.h"

namespace {

using namespace gradhealth;
using namespace gradhealth::test;

// In one write call: a line is there or not.
void say(const std::string& text) {
  const std::string line = text + "\n";
  if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) ::_exit(5);
}

void begin_phase(const char* name) {
  const auto calls = reinterpret_cast<WriteCalls>(::dlsym(RTLD_DEFAULT, kWriteCalls));
  say(std::string("phase ") + name + " " + std::to_string(calls ? calls() : 0));
}

class Part {
 public:
  Part(const std::string& path, int number, Durability durability)
      : number_(number), writer_(path, scenario_run(number, 0), options(durability)) {
    acknowledge();
  }

  /// Rows up to `end`, commit by commit.
  void write(std::int64_t end) {
    const std::int64_t first_step = number_ == 2 ? kSecondPartFirstStep : 0;
    while (row_ < end) {
      const std::int64_t commit_end = std::min(end, row_ + rows_of_commit(row_));
      const Run run = scenario_run(number_, row_);
      for (; row_ < commit_end; ++row_) writer_.append(run, scenario_row(run, first_step + row_, false));
      writer_.append(scenario_event(first_step + row_ - 1));
      writer_.flush();
      acknowledge();
    }
  }

  void close() {
    try {
      writer_.close();
    } catch (const std::exception&) {  // The status has it.
    }
    acknowledge();
  }

 private:
  static WriterOptions options(Durability durability) {
    WriterOptions options;
    options.flush_period = std::chrono::minutes(1);  // flush() alone commits, so that every run makes the same calls.
    options.durability = durability;
    return options;
  }

  void acknowledge() {
    const WriterStatus status = writer_.status();
    if (status.committed_rows != acknowledged_)
      say("acknowledged " + std::to_string(number_) + " " + std::to_string(status.committed_rows));
    acknowledged_ = status.committed_rows;
    if (failed_ || status.state != WriterState::kFailed) return;
    failed_ = true;
    say("failed " + std::to_string(number_) + " " + status.error);
  }

  int number_;
  RunWriter writer_;
  std::int64_t row_ = 0;
  std::int64_t acknowledged_ = -1;
  bool failed_ = false;
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) return 2;
  const std::string path = std::string(argv[1]) + "/run.h5";
  const bool power = argc > 2 && std::string(argv[2]) == "power";
  const Durability durability = power ? Durability::kPower : Durability::kProcess;
  const auto start = std::chrono::steady_clock::now();
  {
    begin_phase("create");
    Part first(path, 1, durability);
    begin_phase("rows");
    first.write(kRowsBeforeColumns);
    begin_phase("columns");
    first.write(kFirstPartRows);
    begin_phase("close");
    first.close();
  }
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
  begin_phase("continue");
  Part second(path, 2, durability);
  second.write(kSecondPartRows);
  second.close();
  begin_phase("end");
  say("microseconds " + std::to_string(static_cast<long>(took.count())));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 3;
}
