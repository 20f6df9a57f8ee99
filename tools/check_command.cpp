#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include <gradhealth/comparison.h>
#include <gradhealth/errors.h>

#include "check_outputs.h"
#include "commands.h"
#include "load.h"
#include "output.h"

namespace gradhealth {

namespace {

struct Arguments {
  std::vector<std::string> runs;
  std::string config;
  std::string colour = "auto";
  std::string fail_on = "error";
  std::string source;
  std::string baseline;
  BaselineOptions tolerances;
  CheckOutputs outputs;
  CiOptions ci;
  bool ascii = false;
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

void print(const Arguments& arguments, const std::vector<Report>& reports) {
  TerminalOptions terminal = terminal_options(arguments.colour);
  if (arguments.ascii) terminal.charset = Charset::kAscii;
  std::ostringstream text;
  if (!arguments.quiet) write_text(text, reports, terminal);
  write_stdout([&](std::ostream& out) {
    if (!arguments.outputs.github) {
      out << text.str();
      return;
    }
    if (!arguments.quiet) write_github_text(out, text.str());
    write_github(out, reports, arguments.ci);
  });
}

/// @throws UsageError if too little was seen of it to compare with.
Report load_baseline(const Arguments& arguments, std::ostream* progress) {
  Report baseline = load_report(arguments.baseline, arguments.config, PlotDetail::kSeries, progress);
  if (verdict(baseline) == Verdict::kUndecided)
    throw UsageError("--baseline " + printable(arguments.baseline) +
                     " is itself undecided, too short or not finished: choose a run that has ended");
  return baseline;
}

int run(const Arguments& arguments) {
  const bool stdout_is_taken = takes_stdout(arguments.outputs);
  std::ostream* progress = arguments.quiet ? nullptr : progress_stream();
  std::vector<Report> reports;
  for (const std::string& name : arguments.runs)
    reports.push_back(load_report(name, arguments.config, PlotDetail::kSeries, progress));
  if (!arguments.baseline.empty()) {
    const Report baseline = load_baseline(arguments, progress);
    for (Report& report : reports) report = against_baseline(std::move(report), baseline, arguments.tolerances);
  }
  write_outputs(arguments.outputs, reports, arguments.ci);
  if (!stdout_is_taken) print(arguments, reports);
  return exit_code_of(gate(reports, arguments.ci.gate));
}

}  // namespace

namespace {

void add_baseline_options(CLI::App& command, Arguments& arguments) {
  command
      .add_option("--baseline", arguments.baseline,
                  "Run to compare with: only what is new or worse counts, and a loss, gradient norm or step time that "
                  "has become worse is a finding")
      ->type_name("RUN");
  const auto tolerance = [&](const char* option, double& value, double least, const char* help) {
    command.add_option(option, value, help)->check(CLI::Range(least, 1e9))->capture_default_str()->type_name("NUMBER");
  };
  tolerance("--tolerance-loss", arguments.tolerances.loss, 0, "Share of what the baseline learnt that may be lost");
  tolerance("--tolerance-gradient", arguments.tolerances.gradient_norm, 1, "Factor of the median gradient norm");
  tolerance("--tolerance-time", arguments.tolerances.step_time, 1, "Factor of the median step time");
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
  add_output_options(*command, arguments->outputs);
  add_baseline_options(*command, *arguments);
  command
      ->add_option("--source", arguments->source,
                   "What --sarif, --gitlab and --github point to, such as the trainer's source")
      ->type_name("FILE[:LINE]");
  command->add_option("--color", arguments->colour, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("WHEN");
  command->add_flag("--ascii", arguments->ascii, "Nothing but ASCII in the text");
  command->add_flag("--allow-undecided", arguments->ci.gate.allow_undecided, "Pass runs of which too little was seen");
  command->add_flag("--allow-incomplete", arguments->ci.gate.allow_incomplete, "Pass runs that were not finished");
  command->add_flag("-q,--quiet", arguments->quiet, "Print errors only");
  command->footer(
      "Exit codes: 0 healthy, 1 findings of --fail-on or above, 2 could not judge (usage, configuration,\n"
      "unreadable or foreign file, undecided or unfinished run), 3 a defect of gradhealth.\n"
      "Nothing depends on the CI server's environment: what is written is what the options ask for.\n\nExamples:\n"
      "  gradhealth check run.h5 --junit gradhealth.xml\n"
      "  gradhealth check run.h5 --baseline good.h5\n"
      "  gradhealth check run.h5 --github --source src/train.cpp:40\n"
      "  gradhealth check run.h5 --fail-on warning --json - | jq .verdict");
  command->callback([arguments, &exit_code] {
    arguments->ci.gate.fail_on = severity_of(arguments->fail_on);
    if (!arguments->source.empty()) set_source(arguments->source, arguments->ci);
    exit_code = run(*arguments);
  });
}

}  // namespace gradhealth
