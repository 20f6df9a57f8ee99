#include <memory>
#include <string>

#include <CLI/CLI.hpp>

#include "commands.h"
#include "load.h"
#include "output.h"

namespace gradhealth {

namespace {

struct Arguments {
  std::string run;
  std::string output = "-";
  std::string format;
  std::string config;
  std::string colour = "auto";
  bool ascii = false;
};

void run(const Arguments& arguments) {
  const std::string format = format_of(arguments.format, arguments.output, {"terminal", "html", "json", "markdown"});
  TerminalOptions terminal = terminal_options(arguments.colour);
  if (arguments.output != "-" && arguments.colour == "auto") terminal.colour = Colour::kNever;
  if (arguments.ascii) terminal.charset = Charset::kAscii;
  const Report report = load_report(arguments.run, arguments.config, progress_stream());
  write_output(arguments.output, [&](std::ostream& out) {
    if (format == "html")
      write_html(out, report);
    else if (format == "json")
      write_json(out, report);
    else if (format == "markdown")
      write_markdown(out, {report});
    else
      write_terminal(out, report, terminal);
  });
}

}  // namespace

void add_report_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("report", "Say what is wrong with a run, since when, why, and what to change");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("RUN", arguments->run, "Run file, or a directory of run files")->required();
  command->add_option("-o,--output", arguments->output, "Write to FILE; - is standard output")->type_name("FILE");
  command
      ->add_option("--format", arguments->format,
                   "terminal, html, json or markdown; else by FILE's suffix, else terminal")
      ->check(CLI::IsMember({"terminal", "html", "json", "markdown"}))
      ->type_name("FORMAT");
  command->add_option("--config", arguments->config, "Configuration of the rules (TOML)")->type_name("FILE");
  command->add_option("--color", arguments->colour, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("WHEN");
  command->add_flag("--ascii", arguments->ascii, "Nothing but ASCII on the terminal");
  command->footer(
      "Exit codes: 0 report written, 2 could not (usage, configuration, unreadable or foreign file),\n"
      "3 a defect of gradhealth.\n\nExamples:\n  gradhealth report run.h5\n"
      "  gradhealth report run.h5 -o report.html");
  command->callback([arguments, &exit_code] {
    run(*arguments);
    exit_code = kExitOk;
  });
}

}  // namespace gradhealth
