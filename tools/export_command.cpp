#include <filesystem>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <gradhealth/errors.h>
#include <gradhealth/export.h>

#include "commands.h"
#include "output.h"
#include "parts.h"

namespace fs = std::filesystem;
namespace gradhealth {

namespace {

struct Arguments {
  std::string run;
  std::string format;
  std::string output;
};

/// A run's models, each with a name of its own.
struct Models {
  explicit Models(const std::string& run) : parts(joined(run_files(run))) {
    std::set<std::string> taken;
    for (const Parts& each : parts) {
      const JoinedRun& joined = *runs.emplace_back(std::make_unique<JoinedRun>(each));
      const std::string stem = each.front().path().stem().string();
      stems.push_back(stem);
      std::string name = joined.run().info.name;
      if (name.empty() && parts.size() > 1) name = stem;
      if (!taken.insert(name).second) name = fmt::format("{} ({})", name, stem);
      exported.push_back({name, &joined.run(), [&joined](const auto& visit) { joined.for_each_step(visit); }});
    }
  }

  std::vector<Parts> parts;
  std::vector<std::unique_ptr<JoinedRun>> runs;
  std::vector<std::string> stems;
  std::vector<ExportedRun> exported;
};

/// run.csv -> run.events.csv
std::string events_path(const std::string& output) {
  fs::path path(output);
  const fs::path suffix = path.extension();
  path.replace_extension();
  return path.string() + ".events" + suffix.string();
}

void write_tensorboard_directory(const Models& models, const fs::path& directory) {
  for (std::size_t i = 0; i < models.exported.size(); ++i) {
    const ExportedRun& run = models.exported[i];
    // TensorBoard takes each directory for a run.
    const fs::path place = directory / models.stems[i];
    std::error_code error;
    fs::create_directories(place, error);
    if (error) throw IoError("cannot make the directory " + place.string() + ": " + error.message());
    write_output((place / tensorboard_file_name(*run.run)).string(),
                 [&](std::ostream& out) { write_tensorboard(out, run); });
  }
}

void run(const Arguments& arguments) {
  if (arguments.format == "tensorboard" && arguments.output == "-")
    throw UsageError("TensorBoard reads directories: give one with -o");
  const Models models(arguments.run);
  if (arguments.format == "tensorboard") return write_tensorboard_directory(models, arguments.output);
  write_output(arguments.output, [&](std::ostream& out) {
    arguments.format == "csv" ? write_csv_wide(out, models.exported) : write_csv_long(out, models.exported);
  });
  if (arguments.output == "-") return;
  write_output(events_path(arguments.output), [&](std::ostream& out) { write_csv_events(out, models.exported); });
}

}  // namespace

void add_export_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("export", "Write a run's numbers for other programs: CSV, TensorBoard");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("RUN", arguments->run, "Run file, or a directory of run files")->required();
  command->add_option("--to", arguments->format, "csv (a line a step), csv-long (a line a value) or tensorboard")
      ->required()
      ->check(CLI::IsMember({"csv", "csv-long", "tensorboard"}))
      ->type_name("FORMAT");
  command->add_option("-o,--output", arguments->output,
                      "CSV: the file, or - for standard output; tensorboard: the directory for --logdir")
      ->required()
      ->type_name("PATH");
  command->footer(
      "csv       step, model, wall_time, and a column for each quantity and subject that was recorded\n"
      "csv-long  step, model, quantity, subject, value\n"
      "Events go to a second file beside it, NAME.events.csv. Lines end with CR LF (RFC 4180); what was not\n"
      "recorded is empty or missing, values that are not finite are nan, inf and -inf. Text that a spreadsheet\n"
      "would take for a formula begins with an apostrophe.\n\n"
      "Exit codes: 0 written, 2 could not (usage, unreadable or foreign file), 3 a defect of gradhealth.\n\n"
      "Examples:\n  gradhealth export run.h5 --to csv -o run.csv\n"
      "  gradhealth export run.h5 --to tensorboard -o logs && tensorboard --logdir logs");
  command->callback([arguments, &exit_code] {
    run(*arguments);
    exit_code = kExitOk;
  });
}

}  // namespace gradhealth
