#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "commands.h"
#include "document_options.h"
#include "load.h"
#include "output.h"

namespace gradhealth {

namespace {

const std::vector<std::string> kFormats{"terminal", "html", "json", "markdown"};

struct Arguments {
  std::string run;
  std::string config;
  DocumentOptions document;
};

void run(const Arguments& arguments) {
  const std::string format = format_of(arguments.document, kFormats);
  const TerminalOptions terminal = terminal_options(arguments.document);
  const Report report = load_report(arguments.run, arguments.config,
                                    format == "html" ? PlotDetail::kMatrices : PlotDetail::kSeries, progress_stream());
  write_output(arguments.document.output, [&](std::ostream& out) {
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
  command->add_option("--config", arguments->config, "Configuration of the rules (TOML)")->type_name("FILE");
  add_document_options(*command, kFormats, arguments->document);
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
