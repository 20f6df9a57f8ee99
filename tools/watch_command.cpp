#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include <gradhealth/config.h>
#include <gradhealth/errors.h>

#include "commands.h"
#include "confined.h"
#include "output.h"
#include "screen.h"
#include "watched_run.h"

namespace gradhealth {

namespace {

struct Arguments {
  std::string run;
  std::string config;
  std::string colour = "auto";
  double interval = 0.5;
  double timeout = 0;  ///< 0: for ever.
  bool once = false;
  bool ascii = false;
};

/// Takes note of the signals that end a command, while it exists.
class Interruption {
 public:
  Interruption() {
    struct sigaction action {};
    action.sa_handler = [](int signal) { caught_ = signal; };
    for (std::size_t i = 0; i < kSignals; ++i) ::sigaction(kAll[i], &action, &before_[i]);
  }
  ~Interruption() {
    for (std::size_t i = 0; i < kSignals; ++i) ::sigaction(kAll[i], &before_[i], nullptr);
    // Whoever started this sees what ended it, and a shell goes no further.
    if (caught_ != 0) ::raise(caught_);
  }
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  static bool caught() { return caught_ != 0; }

 private:
  static constexpr std::size_t kSignals = 3;
  static constexpr int kAll[kSignals] = {SIGINT, SIGTERM, SIGHUP};
  static inline volatile sig_atomic_t caught_ = 0;
  struct sigaction before_[kSignals] {};
};

/// Ends early when a signal comes.
void sleep_for(double seconds) {
  timespec time{};
  time.tv_sec = static_cast<time_t>(seconds);
  time.tv_nsec = static_cast<long>((seconds - static_cast<double>(time.tv_sec)) * 1e9);
  ::nanosleep(&time, nullptr);
}

bool is_terminal() {
  const char* kind = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) == 1 && (kind == nullptr || std::string(kind) != "dumb");
}

std::vector<std::string> frame(const WatchedRun& run, TerminalOptions options, const ScreenSize& size) {
  std::ostringstream text;
  // Neither the last column nor the last line: writing there makes terminals move.
  options.width = size.width - 1;
  write_watch_frame(text, run.states(), options, size.height - 1);
  std::vector<std::string> lines;
  std::istringstream in(text.str());
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// For a file or a pipe: a line for each finding, and for each file of which something is new.
class Log {
 public:
  void write(std::ostream& out, WatchedRun& run, Charset charset) {
    TerminalOptions options;
    options.charset = charset;
    options.width = 1000;
    for (const WatchState& state : run.states()) {
      Told& told = told_[state.name];
      if (told.rows == state.rows && told.phase == state.phase && told.any) continue;
      told = {state.rows, state.phase, true};
      write_watch_line(out, state, charset);
    }
    for (const Finding& finding : run.take_new_findings()) write_finding_line(out, finding, options);
  }

 private:
  struct Told {
    std::int64_t rows = 0;
    WatchPhase phase = WatchPhase::kWaiting;
    bool any = false;
  };
  std::map<std::string, Told> told_;
};

int watch(const Arguments& arguments) {
  if (!arguments.config.empty()) now_reading(arguments.config);
  const DiagnosisOptions rules = arguments.config.empty() ? DiagnosisOptions{} : load_config(arguments.config);
  TerminalOptions options = terminal_options(arguments.colour);
  if (arguments.ascii) options.charset = Charset::kAscii;
  if (arguments.once) run_files(arguments.run);  // It has to exist.

  const Interruption interruption;
  WatchedRun run(arguments.run, rules);
  Screen screen;
  Log log;
  const bool terminal = is_terminal();
  while (!Interruption::caught()) {
    run.look(&Interruption::caught);
    if (Interruption::caught()) break;
    const ScreenSize size = screen_size();
    write_stdout([&](std::ostream& out) {
      if (arguments.once)
        for (const std::string& line : frame(run, options, {size.width + 1, size.height})) out << line << '\n';
      else if (terminal)
        out << screen.redraw(frame(run, options, size), size);
      else
        log.write(out, run, options.charset);
    });
    if (arguments.once || run.is_over() || !std::cout) return kExitOk;
    if (arguments.timeout > 0 && run.idle_seconds() > arguments.timeout)
      throw IoError("nothing new of " + arguments.run + " for " + std::to_string(std::lround(run.idle_seconds())) +
                    " s: gave up");
    sleep_for(arguments.interval);
  }
  if (terminal) {
    // The terminal sends the signal first and then drops what it has not shown: this as well, should we be the quicker.
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    std::cout.clear();
    std::cout << screen.restored() << std::flush;
  }
  return kExitOk;
}

}  // namespace

void add_watch_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("watch", "Follow a run while it is being recorded");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("RUN", arguments->run, "Run file, or a directory of run files; need not exist yet")->required();
  command->add_option("--config", arguments->config, "Configuration of the rules (TOML)")->type_name("FILE");
  command->add_option("--interval", arguments->interval, "Look again every so many seconds (0.5)")
      ->check(CLI::Range(0.1, 3600.0))
      ->type_name("SECONDS");
  command->add_option("--timeout", arguments->timeout, "Give up after so many seconds without a new step")
      ->check(CLI::PositiveNumber)
      ->type_name("SECONDS");
  command->add_flag("--once", arguments->once, "Print how it is going and exit");
  command->add_option("--color", arguments->colour, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("WHEN");
  command->add_flag("--ascii", arguments->ascii, "Nothing but ASCII");
  command->footer(
      "Ends when the run is finished, or with Ctrl-C. Each file of a directory is judged by itself. Where\n"
      "standard output is no terminal, a line is printed for each change.\n\n"
      "Exit codes: 0 the run is over, 2 could not (usage, configuration, foreign file, --timeout),\n"
      "3 a defect of gradhealth.\n\nExamples:\n  gradhealth watch run.h5\n"
      "  gradhealth watch runs --timeout 600 > watch.log");
  command->callback([arguments, &exit_code] { exit_code = watch(*arguments); });
}

}  // namespace gradhealth
