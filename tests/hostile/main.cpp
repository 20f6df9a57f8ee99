// Damaged run files and configurations through every command: no crash, no hang, bounded memory, outputs that are safe
// to show, exit codes 0, 1 or 2, and for 2 one line that says why.
//   hostile [--files N] [--configs N] [--structured DIRECTORY] [--seed N] [--jobs N] [--seconds N] [--keep DIRECTORY]
// Each file of --structured is tried as it is, and spoiled further as the other bases are. What fails is kept.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include <gradhealth/config.h>

#include "hostile/bases.h"
#include "hostile/examination.h"
#include "hostile/process.h"
#include "support/temporary_directory.h"

namespace fs = std::filesystem;
using namespace gradhealth::hostile;

namespace {

struct Arguments {
  std::uint64_t files = 160;
  std::uint64_t configs = 40;
  std::string structured;
  std::uint64_t seed = 1;
  int jobs = 1;
  double seconds = 1e9;
  std::string keep = "hostile-failures";
};

void write(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

/// One process's share of the work.
class Worker {
 public:
  Worker(const Arguments& arguments, const std::vector<Base>& bases, std::string config)
      : arguments_(arguments), bases_(bases), config_(std::move(config)) {}

  void file(const Base& base, const std::string& bytes, const std::string& label) {
    const gradhealth::test::TemporaryDirectory directory;
    write(directory / "healthy.h5", bases_[2].bytes);
    std::string run = "run.h5";
    if (!base.beside.empty()) {
      run = "run";
      fs::create_directory(directory / run);
      write(directory / "run/part.h5", base.beside);
      write(directory / "run/run.h5", bytes);
    } else {
      write(directory / run, bytes);
    }
    Examination examination(directory.path());
    examination.files(run);
    take(examination, base.name + "-" + label + ".h5", bytes);
  }

  void config(std::uint64_t seed) {
    const gradhealth::test::TemporaryDirectory directory;
    write(directory / "healthy.h5", bases_[2].bytes);
    const std::string text = mutant_text(config_, seed);
    write(directory / "gradhealth.toml", text);
    Examination examination(directory.path());
    examination.config();
    take(examination, "config-" + std::to_string(seed) + ".toml", text);
  }

  const Tally& tally() const { return tally_; }

 private:
  void take(const Examination& examination, const std::string& name, const std::string& bytes) {
    Tally one = examination.tally();
    one.inputs = 1;
    one.failures = examination.faults().empty() ? 0 : 1;
    add(tally_, one);
    if (examination.faults().empty()) return;
    fs::create_directories(arguments_.keep);
    write(fs::path(arguments_.keep) / name, bytes);
    std::string text;
    for (const std::string& fault : examination.faults()) text += "FAILED " + name + ": " + fault + '\n';
    std::cout << text << std::flush;
  }

  const Arguments& arguments_;
  const std::vector<Base>& bases_;
  std::string config_;
  Tally tally_;
};

/// What the mutated configurations begin as.
std::string config() {
  return gradhealth::default_config().substr(0, 6000) +
         "\n[[suppressions]]\nrule = \"dead-units\"\nsubject = \"enc*\"\nreason = \"on purpose\"\n"
         "expires = 2027-01-31\n";
}

Tally work(const Arguments& arguments, const std::vector<Base>& bases, const std::vector<fs::path>& structured,
           int job) {
  Worker worker(arguments, bases, config());
  const auto begin = std::chrono::steady_clock::now();
  const auto jobs = static_cast<std::uint64_t>(arguments.jobs);
  const auto mine = [&](std::uint64_t i) {
    const std::chrono::duration<double> since = std::chrono::steady_clock::now() - begin;
    return i % jobs == static_cast<std::uint64_t>(job) && since.count() < arguments.seconds;
  };
  const std::uint64_t first_seed = arguments.seed * 1'000'003;
  for (std::size_t i = 0; i < structured.size(); ++i) {
    if (!mine(i)) continue;
    const Base base = structured_base(structured[i]);
    worker.file(base, base.bytes, "as-it-is");
  }
  for (std::uint64_t i = 0; i < arguments.configs; ++i)
    if (mine(i)) worker.config(first_seed + i);
  for (std::uint64_t i = 0; i < arguments.files; ++i) {
    if (!mine(i)) continue;
    // What HDF5 itself has made wrong is one base in four.
    const bool made_wrong = !structured.empty() && i % 4 == 3;
    const Base base = made_wrong ? structured_base(structured[i / 4 % structured.size()]) : bases[i % bases.size()];
    worker.file(base, mutant(base, first_seed + i), std::to_string(first_seed + i));
  }
  return worker.tally();
}

int run(const Arguments& arguments) {
  const auto begin = std::chrono::steady_clock::now();
  const gradhealth::test::TemporaryDirectory directory;
  const std::vector<Base> bases = written_bases(directory.path());
  std::vector<fs::path> structured;
  if (!arguments.structured.empty()) structured = structured_files(arguments.structured);
  std::vector<std::pair<pid_t, int>> children;
  for (int job = 0; job < arguments.jobs; ++job) {
    int ends[2];
    if (::pipe(ends) != 0) return 3;
    const pid_t child = ::fork();
    if (child == 0) {
      const Tally tally = work(arguments, bases, structured, job);
      const bool told = ::write(ends[1], &tally, sizeof tally) == sizeof tally;
      std::cout.flush();
      std::_Exit(told ? 0 : 3);
    }
    ::close(ends[1]);
    children.emplace_back(child, ends[0]);
  }
  Tally all;
  for (const auto& [child, end] : children) {
    Tally tally;
    int status = 0;
    if (::read(end, &tally, sizeof tally) != sizeof tally) return 3;
    ::waitpid(child, &status, 0);
    add(all, tally);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::cout << all.inputs << " inputs, " << all.commands << " commands in " << static_cast<int>(seconds)
            << " s: exit code 0 " << all.exit_codes[0] << " times, 1 " << all.exit_codes[1] << " times, 2 "
            << all.exit_codes[2] << " times; at most " << all.megabytes << " MiB and " << all.seconds
            << " s of processor time a command; " << all.crashes << " crashes and " << all.hangs
            << " hangs of HDF5 were held; " << all.failures << " inputs failed\n";
  return all.failures == 0 && all.inputs > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app("Damaged run files and configurations through every command");
  app.add_option("--files", arguments.files, "Damaged run files");
  app.add_option("--configs", arguments.configs, "Damaged configurations");
  app.add_option("--structured", arguments.structured, "Where structured.py has written its files");
  app.add_option("--seed", arguments.seed);
  app.add_option("--seconds", arguments.seconds, "Begin nothing new after so many seconds");
  app.add_option("--jobs", arguments.jobs)->check(CLI::Range(1, 64));
  app.add_option("--keep", arguments.keep, "Where inputs that fail are kept");
  CLI11_PARSE(app, argc, argv);
  const int exit_code = run(arguments);
  std::cout.flush();
  std::_Exit(exit_code);
}
