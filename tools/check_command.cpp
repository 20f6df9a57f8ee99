#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <gradhealth/errors.h>

#include "commands.h"
#include "load.h"
#include "output.h"

namespace gradhealth {

namespace {

struct Arguments {
  std::vector<std::string> runs;
  std::string config;
  std::string json;
  std::string junit;
  std::string colour = "auto";
  std::string fail_on = "error";
  GateOptions gate;
  bool quiet = false;
};

Severity severity_of(const std::string& name) {
  if (name == "info") return Severity::kInfo;
  return name == "warning" ? Severity::kWarning : Severity::kError;
}

int exit_code_of(GateOutcome outcome) {
  switch (outcome) {
    case GateOutcome::kPass: return kExitOk;
    case GateOutcome::kFail: return kExitFindings;
    case GateOutcome::kCannotJudge: return kExitCannotJudge;
  }
  return kExitDefect;
}

void write_text(std::ostream& out, const std::vector<Report>& reports, const TerminalOptions& terminal) {
  for (const Report& report : reports)
    out << coverage(report) << (reports.size() > 1 ? ": " + printable(report.run) : "") << '\n';
  for (const Report& report : reports) {
    out << '\n';
    write_terminal(out, report, terminal);
  }
}

int run(const Arguments& arguments) {
  if (arguments.json == "-" && arguments.junit == "-")
    throw UsageError("--json and --junit cannot both go to standard output");
  std::vector<Report> reports;
  for (const std::string& name : arguments.runs) reports.push_back(load_report(name, arguments.config));

  const auto json = [&](std::ostream& out) {
    reports.size() == 1 ? write_json(out, reports.front()) : write_json(out, reports);
  };
  if (!arguments.json.empty()) write_output(arguments.json, json);
  if (!arguments.junit.empty())
    write_output(arguments.junit, [&](std::ostream& out) { write_junit(out, reports, arguments.gate); });
  const bool stdout_is_taken = arguments.json == "-" || arguments.junit == "-";
  if (!arguments.quiet && !stdout_is_taken)
    write_stdout([&](std::ostream& out) { write_text(out, reports, terminal_options(arguments.colour)); });
  return exit_code_of(gate(reports, arguments.gate));
}

}  // namespace

void add_check_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("check", "Judge runs for a CI job: the exit code is the verdict");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("RUN", arguments->runs, "Run files, or directories of run files")->required();
  command->add_option("--config", arguments->config, "Configuration of the rules (TOML)")->type_name("FILE");
  command->add_option("--fail-on", arguments->fail_on, "Least severity that fails: error (default), warning or info")
      ->check(CLI::IsMember({"error", "warning", "info"}))
      ->type_name("SEVERITY");
  command->add_option("--json", arguments->json, "Write the diagnosis as JSON; - is standard output")
      ->type_name("FILE");
  command->add_option("--junit", arguments->junit, "Write a JUnit file; - is standard output")->type_name("FILE");
  command->add_option("--color", arguments->colour, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("WHEN");
  command->add_flag("--allow-undecided", arguments->gate.allow_undecided, "Pass runs of which too little was seen");
  command->add_flag("--allow-incomplete", arguments->gate.allow_incomplete, "Pass runs that were not finished");
  command->add_flag("-q,--quiet", arguments->quiet, "Print errors only");
  command->footer(
      "Exit codes: 0 healthy, 1 findings of --fail-on or above, 2 could not judge (usage, configuration,\n"
      "unreadable or foreign file, undecided or unfinished run), 3 a defect of gradhealth.\n\nExamples:\n"
      "  gradhealth check run.h5 --junit gradhealth.xml\n  gradhealth check run.h5 --fail-on warning --json - | jq "
      ".verdict");
  command->callback([arguments, &exit_code] {
    arguments->gate.fail_on = severity_of(arguments->fail_on);
    exit_code = run(*arguments);
  });
}

}  // namespace gradhealth
