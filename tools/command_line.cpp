#include <csignal>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <gradhealth/errors.h>
#include <gradhealth/report.h>
#include <gradhealth/run_file.h>
#include <gradhealth/version.h>

#include "command_line.h"
#include "commands.h"
#include "confined.h"
#include "described.h"
#include "output.h"

namespace gradhealth {
namespace {

constexpr const char* kFooter =
    "Exit codes: 0 done, or healthy; 1 `check` has findings of --fail-on or above; 2 could not judge (usage,\n"
    "configuration, unreadable or foreign file, undecided or unfinished run); 3 a defect of gradhealth.\n\n"
    "Examples:\n"
    "  gradhealth report run.h5                     what is wrong, where, since when, why, and the fix\n"
    "  gradhealth report run.h5 -o report.html      the same with plots, one file for a browser\n"
    "  gradhealth check run.h5 --junit result.xml   for a CI job\n"
    "  gradhealth watch run.h5                      how a training is going\n"
    "  gradhealth diff before.h5 after.h5           what a fix has changed\n"
    "  gradhealth recover run.h5 -o fixed.h5        what a killed trainer left, as an ordinary file\n"
    "  gradhealth explain vanishing-gradient        what a rule means";

/// CLI11 2.6 breaks lines of its own in what is written here, examples in columns as well; 2.4 does not.
template <typename Formatter>
auto keep_lines(Formatter& formatter, int) -> decltype(formatter.enable_footer_formatting(false)) {
  formatter.enable_description_formatting(false);
  formatter.enable_footer_formatting(false);
}
template <typename Formatter>
void keep_lines(Formatter&, long) {}

/// "report, check or rules must be given …"
std::string no_subcommand(const CLI::App& app) {
  std::string names;
  const std::vector<const CLI::App*> commands = commands_of(app);
  for (std::size_t i = 0; i < commands.size(); ++i)
    names += (i == 0 ? "" : i + 1 == commands.size() ? " or " : ", ") + commands[i]->get_name();
  return names + " must be given (gradhealth --help tells more)";
}

int complain(const std::string& message, int exit_code) {
  std::cerr << "gradhealth: " << printable(message) << '\n';
  return exit_code;
}

int parse_and_run(CLI::App& app, int argc, char** argv, const int& exit_code) {
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) throw UsageError(no_subcommand(app));
    return exit_code;
  } catch (const CLI::CallForVersion&) {
    write_stdout([](std::ostream& out) {
      out << "gradhealth " << GRADHEALTH_VERSION << "\nbuilt with " << GRADHEALTH_BUILT_WITH << "\nruns with "
          << hdf5_library() << '\n';
    });
    return kExitOk;
  } catch (const CLI::Success&) {
    write_stdout([&](std::ostream& out) { out << app.help(); });
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    return complain(std::string(error.what()) + " (gradhealth --help tells more)", kExitCannotJudge);
  }
}

int run(int argc, char** argv) {
  CLI::App app("Tells why a LibTorch training goes wrong, where it started and what to change.", "gradhealth");
  app.set_version_flag("--version", GRADHEALTH_VERSION, "Print the version and what it was built with");
  // None at all is refused after parsing: CLI11 would say so of a misspelt one, too, and not name it.
  app.require_subcommand(0, 1);
  app.footer(kFooter);
  keep_lines(*app.get_formatter(), 0);  // The subcommands take it from here.
  int exit_code = kExitDefect;
  add_report_command(app, exit_code);
  add_check_command(app, exit_code);
  add_watch_command(app, exit_code);
  add_diff_command(app, exit_code);
  add_recover_command(app, exit_code);
  add_export_command(app, exit_code);
  add_explain_command(app, exit_code);
  add_rules_command(app, exit_code);
  add_config_command(app, exit_code);
  add_complete_command(app, exit_code);
  add_man_command(app, exit_code);
  return parse_and_run(app, argc, argv, exit_code);
}

}  // namespace

int run_command_line(int argc, char** argv) {
  // Writing to a closed pipe is an error to handle, not a reason to be killed.
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return run(argc, argv);
  } catch (const UsageError& error) {
    return complain(error.what(), kExitCannotJudge);
  } catch (const IoError& error) {
    return complain(error.what(), kExitCannotJudge);
  } catch (const FormatError& error) {
    return complain(error.what(), kExitCannotJudge);
  } catch (const std::filesystem::filesystem_error& error) {
    return complain(error.what(), kExitCannotJudge);
  } catch (const std::bad_alloc&) {
    return complain(out_of_memory(), kExitCannotJudge);
  } catch (const std::exception& error) {
    return complain(std::string("internal error, please report it: ") + error.what(), kExitDefect);
  } catch (...) {
    return complain("internal error, please report it", kExitDefect);
  }
}

}  // namespace gradhealth
