#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <gradhealth/comparison.h>
#include <gradhealth/errors.h>

#include "commands.h"
#include "document_options.h"
#include "load.h"
#include "output.h"

namespace gradhealth {
namespace {

const std::vector<std::string> kFormats{"terminal", "html", "json"};

struct Arguments {
  std::string before;
  std::string after;
  std::string config;
  DocumentOptions document;
};

void run(const Arguments& arguments) {
  const std::string format = format_of(arguments.document, kFormats);
  const TerminalOptions terminal = terminal_options(arguments.document);
  const Report before = load_report(arguments.before, arguments.config, PlotDetail::kMatrices, progress_stream());
  const Report after = load_report(arguments.after, arguments.config, PlotDetail::kMatrices, progress_stream());
  const Comparison comparison = compare(before, after);
  if (comparison.models.empty())
    throw UsageError(printable(arguments.before) + " and " + printable(arguments.after) +
                     " have no model in common: models are told apart by the monitors' names");
  write_output(arguments.document.output, [&](std::ostream& out) {
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
  command->add_option("--config", arguments->config, "Configuration of the rules (TOML)")->type_name("FILE");
  add_document_options(*command, kFormats, arguments->document);
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
