#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include <gradhealth/comparison.h>
#include <gradhealth/errors.h>

#include "commands.h"
#include "load.h"
#include "output.h"

namespace gradhealth {
namespace {

struct Arguments {
  std::string before;
  std::string after;
  std::string output = "-";
  std::string format;
  std::string config;
  std::string colour = "auto";
  bool ascii = false;
};

void run(const Arguments& arguments) {
  const std::string format = format_of(arguments.format, arguments.output, {"terminal", "html", "json"});
  TerminalOptions terminal = terminal_options(arguments.colour);
  if (arguments.output != "-" && arguments.colour == "auto") terminal.colour = Colour::kNever;
  if (arguments.ascii) terminal.charset = Charset::kAscii;
  const Report before = load_report(arguments.before, arguments.config, progress_stream());
  const Report after = load_report(arguments.after, arguments.config, progress_stream());
  const Comparison comparison = compare(before, after);
  if (comparison.models.empty())
    throw UsageError(printable(arguments.before) + " and " + printable(arguments.after) +
                     " have no model in common: models are told apart by the monitors' names");
  write_output(arguments.output, [&](std::ostream& out) {
    if (format == "html")
      write_comparison_html(out, comparison);
    else if (format == "json")
      write_comparison_json(out, comparison);
    else
      write_comparison(out, comparison, terminal);
  });
}

}  // namespace

void add_diff_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("diff", "Compare two runs: what a change has resolved, left and brought");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("BEFORE", arguments->before, "Run file, or a directory of run files")->required();
  command->add_option("AFTER", arguments->after, "The same of the other run")->required();
  command->add_option("-o,--output", arguments->output, "Write to FILE; - is standard output")->type_name("FILE");
  command->add_option("--format", arguments->format, "terminal, html or json; else by FILE's suffix, else terminal")
      ->check(CLI::IsMember({"terminal", "html", "json"}))
      ->type_name("FORMAT");
  command->add_option("--config", arguments->config, "Configuration of the rules (TOML)")->type_name("FILE");
  command->add_option("--color", arguments->colour, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("WHEN");
  command->add_flag("--ascii", arguments->ascii, "Nothing but ASCII on the terminal");
  command->footer(
      "Exit codes: 0 comparison written, whatever it says; 2 could not (usage, configuration, unreadable or foreign\n"
      "file, no model in common); 3 a defect of gradhealth. To fail a job on what is worse: check --baseline.\n\n"
      "Examples:\n  gradhealth diff before.h5 after.h5\n"
      "  gradhealth diff before.h5 after.h5 -o diff.html");
  command->callback([arguments, &exit_code] {
    run(*arguments);
    exit_code = kExitOk;
  });
}

}  // namespace gradhealth
