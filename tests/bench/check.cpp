// What it takes to judge a large run: the size of its file, and the time of reading it, of judging it, and of
// `gradhealth check` and `gradhealth report` with the most memory that each of them used. Prints figures, asserts
// nothing.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <gradhealth/diagnosis.h>
#include <gradhealth/run_file.h>

#include "bench/recorded_run.h"

namespace {

using Clock = std::chrono::steady_clock;

/// On a machine that does other things as well, the processor's time says more.
struct Time {
  double wall = 0;
  double processor = 0;
};

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

Time time_of(const std::function<void()>& work) {
  rusage before{};
  rusage after{};
  getrusage(RUSAGE_SELF, &before);
  const auto start = Clock::now();
  work();
  const double wall = std::chrono::duration<double>(Clock::now() - start).count();
  getrusage(RUSAGE_SELF, &after);
  return {wall, seconds_of(after.ru_utime) + seconds_of(after.ru_stime) - seconds_of(before.ru_utime) -
                    seconds_of(before.ru_stime)};
}

void print(const char* what, const Time& time, const std::string& more = "") {
  fmt::print("{:<20} {:8.3f} s, {:8.3f} s of the processor{}\n", what, time.wall, time.processor, more);
}

struct Process {
  Time time;
  double mebibytes = 0;  ///< Largest resident set.
  int exit_code = -1;
};

/// A command of its own, its output thrown away.
Process run_process(const std::vector<std::string>& arguments) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  Process process;
  rusage used{};
  int status = 0;
  process.time = time_of([&] {
    const pid_t child = fork();
    if (child < 0) throw std::runtime_error("fork failed");
    if (child == 0) {
      const int nowhere = open("/dev/null", O_WRONLY);
      dup2(nowhere, STDOUT_FILENO);
      dup2(nowhere, STDERR_FILENO);
      execv(argv[0], argv.data());
      _exit(127);
    }
    wait4(child, &status, 0, &used);
  });
  process.time.processor = seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
  process.mebibytes = static_cast<double>(used.ru_maxrss) / 1024;
  if (WIFEXITED(status)) process.exit_code = WEXITSTATUS(status);
  return process;
}

void print(const char* what, const Process& process) {
  print(what, process.time, fmt::format(", {:.0f} MiB, exit {}", process.mebibytes, process.exit_code));
}

void measure(const std::filesystem::path& path, const std::string& command, int rounds) {
  const gradhealth::RunReader reader(path);
  fmt::print("{:<20} {:8.1f} MiB, {} rows\n", "file", static_cast<double>(std::filesystem::file_size(path)) / (1 << 20),
             reader.rows());
  for (int round = 0; round < rounds; ++round) {
    print("reading", time_of([&] { reader.for_each_step([](const auto&) {}); }));
    gradhealth::Diagnosis diagnosis;
    const Time judged = time_of([&] {
      gradhealth::Diagnoser diagnoser;
      reader.for_each_step([&](const auto& record) { diagnoser.observe(reader.run(), record); });
      diagnosis = diagnoser.diagnosis();
    });
    const auto rows = static_cast<double>(std::max<std::int64_t>(reader.rows(), 1));
    print("reading and judging", judged,
          fmt::format(", {:.1f} us a row, {}", 1e6 * judged.processor / rows, gradhealth::name(diagnosis.verdict)));
    if (command.empty()) continue;
    const std::string page = path.string() + ".html";
    print("gradhealth check", run_process({command, "check", path.string()}));
    print("gradhealth report", run_process({command, "report", path.string(), "-o", page}));
    if (std::filesystem::exists(page))
      fmt::print("{:<20} {:8.2f} MiB\n", "HTML", static_cast<double>(std::filesystem::file_size(page)) / (1 << 20));
    std::filesystem::remove(page);
  }
}

void write(const std::filesystem::path& path, bench::RunOptions options) {
  if (options.ranks == 1) {
    bench::write_run(path, options);
    return;
  }
  std::filesystem::create_directory(path);
  for (options.rank = 0; options.rank < options.ranks; ++options.rank)
    bench::write_run(path / fmt::format("rank-{:04}.h5", options.rank), options);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures how long large runs take to be judged");
  bench::RunOptions options;
  std::string file;
  std::string command = GRADHEALTH_EXECUTABLE;
  int rounds = 1;
  bool write_only = false;
  app.add_option("--layers", options.layers, "Layers of the model")->capture_default_str();
  app.add_option("--steps", options.steps, "Steps of the training")->capture_default_str();
  app.add_option("--recorded", options.recorded, "least: loss and gradient norms; all: what a Monitor records")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, bench::Recorded>{{"least", bench::Recorded::kLeast}, {"all", bench::Recorded::kAll}}));
  app.add_option("--schedule", options.schedule, "every: all steps recorded; default: those that a Monitor records")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, bench::Steps>{{"every", bench::Steps::kEvery}, {"default", bench::Steps::kScheduled}}));
  app.add_option("--fault", options.fault, "vanishing, nonfinite, dead, stuck or diverging, in the second half")
      ->check([](const std::string& name) { return bench::is_fault(name) ? "" : "there is no fault " + name; });
  app.add_option("--ranks", options.ranks, "Ranks, each with a file; the run is a directory")->capture_default_str();
  app.add_option("--file", file, "Keep the run here, or measure the one that is here");
  app.add_option("--command", command, "The gradhealth command to measure; empty: none")->capture_default_str();
  app.add_option("--rounds", rounds, "How often everything is measured")->capture_default_str();
  app.add_flag("--write-only", write_only, "Write the run and measure nothing");
  CLI11_PARSE(app, argc, argv);

  const bool keep = !file.empty();
  const std::filesystem::path path =
      keep ? std::filesystem::path(file)
           : std::filesystem::temp_directory_path() / fmt::format("gradhealth-bench-{}.h5", getpid());
  if (!std::filesystem::exists(path)) print("writing", time_of([&] { write(path, options); }));
  if (!write_only && options.ranks == 1) measure(path, command, rounds);
  if (!write_only && options.ranks > 1)
    for (int round = 0; round < rounds; ++round)
      print("gradhealth report", run_process({command, "report", path.string()}));
  if (!keep) std::filesystem::remove_all(path);
}
