// What it takes to judge a large run: the size of its file, and the time of reading it, of judging it, and of
// `gradhealth check` and `gradhealth report` with the most memory that each of them used. Prints figures, asserts
// nothing.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <fcntl.h>
#include <gradhealth/diagnosis.h>
#include <gradhealth/run_file.h>

#include "bench/recorded_run.h"

namespace {

using Clock = std::chrono::steady_clock;

double seconds(const std::function<void()>& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Process {
  double seconds = 0;
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
  process.seconds = seconds([&] {
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
  process.mebibytes = static_cast<double>(used.ru_maxrss) / 1024;
  if (WIFEXITED(status)) process.exit_code = WEXITSTATUS(status);
  return process;
}

void print(const char* what, const Process& process) {
  fmt::print("{:<28} {:8.3f} s {:8.0f} MiB   exit {}\n", what, process.seconds, process.mebibytes, process.exit_code);
}

void measure(const std::filesystem::path& path, const std::string& command, int rounds) {
  const gradhealth::RunReader reader(path);
  fmt::print("{:<28} {:8.0f} MiB, {} rows\n", "file", static_cast<double>(std::filesystem::file_size(path)) / (1 << 20),
             reader.rows());
  for (int round = 0; round < rounds; ++round) {
    fmt::print("{:<28} {:8.3f} s\n", "reading", seconds([&] { reader.for_each_step([](const auto&) {}); }));
    gradhealth::Diagnosis diagnosis;
    const double judged = seconds([&] {
      gradhealth::Diagnoser diagnoser;
      reader.for_each_step([&](const auto& record) { diagnoser.observe(reader.run(), record); });
      diagnosis = diagnoser.diagnosis();
    });
    fmt::print("{:<28} {:8.3f} s   {:.1f} us a row, {}\n", "reading and judging", judged,
               1e6 * judged / static_cast<double>(std::max<std::int64_t>(reader.rows(), 1)),
               std::string(gradhealth::name(diagnosis.verdict)));
    if (command.empty()) continue;
    const std::string page = path.string() + ".html";
    print("gradhealth check", run_process({command, "check", path.string()}));
    print("gradhealth report", run_process({command, "report", path.string(), "-o", page}));
    if (std::filesystem::exists(page))
      fmt::print("{:<28} {:8.2f} MiB\n", "HTML", static_cast<double>(std::filesystem::file_size(page)) / (1 << 20));
    std::filesystem::remove(page);
  }
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
  app.add_option("--file", file, "Keep the run here, or measure the one that is here");
  app.add_option("--command", command, "The gradhealth command to measure; empty: none")->capture_default_str();
  app.add_option("--rounds", rounds, "How often everything is measured")->capture_default_str();
  app.add_flag("--write-only", write_only, "Write the run and measure nothing");
  CLI11_PARSE(app, argc, argv);

  const bool keep = !file.empty();
  const std::filesystem::path path =
      keep ? std::filesystem::path(file)
           : std::filesystem::temp_directory_path() / fmt::format("gradhealth-bench-{}.h5", getpid());
  if (!std::filesystem::exists(path))
    fmt::print("{:<28} {:8.3f} s\n", "writing", seconds([&] { bench::write_run(path, options); }));
  if (!write_only) measure(path, command, rounds);
  if (!keep) std::filesystem::remove(path);
}
