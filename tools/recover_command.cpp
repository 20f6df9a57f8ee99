#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

#include "commands.h"
#include "confined.h"
#include "output.h"

namespace fs = std::filesystem;
namespace gradhealth {

namespace {

constexpr std::size_t kMostNamed = 3;

struct Arguments {
  std::string run;
  std::string output;
};

/// What is to become of each file.
std::vector<std::pair<fs::path, fs::path>> plan(const Arguments& arguments) {
  const fs::path run(arguments.run), output(arguments.output);
  std::error_code error;
  std::vector<std::pair<fs::path, fs::path>> copies;
  const bool into = fs::is_directory(output, error);
  if (!fs::is_directory(run, error))
    copies.emplace_back(run, into ? output / run.filename() : output);
  else
    for (const fs::path& file : run_files(run)) copies.emplace_back(file, output / file.filename());
  // All or nothing: half a directory would have to be sorted out by hand.
  for (const auto& [from, to] : copies)
    if (fs::exists(fs::symlink_status(to, error)))
      throw UsageError(to.string() + ": exists already, and recovering never overwrites; choose another path");
  return copies;
}

std::string ended(RunState state) {
  switch (state) {
    case RunState::kUnfinished: return "was left unfinished";
    case RunState::kFinished: return "was finished";
    case RunState::kFailed: return "is of a recording that failed";
    case RunState::kRecovered: return "was recovered once";
  }
  return {};
}

std::string percentage(const fs::path& from, const fs::path& to) {
  std::error_code error;
  const auto before = static_cast<double>(fs::file_size(from, error));
  const auto after = static_cast<double>(fs::file_size(to, error));
  return before > 0 ? fmt::format(", {:.0f} % of its size", 100 * after / before) : "";
}

void tell(std::ostream& out, const fs::path& from, const fs::path& to, const Recovery& recovery) {
  out << printable(to.string()) << ": " << recovery.rows << " steps and " << recovery.events << " events of "
      << printable(from.string()) << ", which " << ended(recovery.was) << percentage(from, to) << '\n';
  // What one cause has cost is often the same for many objects.
  std::map<std::tuple<std::int64_t, std::int64_t, std::string>, std::vector<std::string>> losses;
  for (const LostPart& part : recovery.lost) losses[{part.count, part.of, part.reason}].push_back(part.object);
  for (const auto& [loss, objects] : losses) {
    const auto& [count, of, reason] = loss;
    out << "  lost: ";
    if (objects.front().empty()) {
      out << printable(reason) << '\n';
      continue;
    }
    out << count << " of " << of << " in ";
    for (std::size_t i = 0; i < std::min(objects.size(), kMostNamed); ++i)
      out << (i == 0 ? "/" : ", /") << printable(objects[i]);
    if (objects.size() > kMostNamed) out << " and " << objects.size() - kMostNamed << " more";
    out << ": " << printable(reason) << '\n';
  }
}

int run(const Arguments& arguments) {
  const auto copies = plan(arguments);
  bool some_failed = false, some_lost = false;
  for (const auto& [from, to] : copies) {
    now_reading(from);
    try {
      const Recovery recovery = recover(from, to);
      some_lost = some_lost || !recovery.lost.empty();
      write_stdout([&, &from = from, &to = to](std::ostream& out) { tell(out, from, to, recovery); });
    } catch (const FormatError& error) {
      if (copies.size() == 1) throw;
      std::cerr << "gradhealth: " << printable(error.what()) << '\n';
      some_failed = true;
    }
  }
  if (some_failed) return kExitCannotJudge;
  return some_lost ? kExitFindings : kExitOk;
}

}  // namespace

void add_recover_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("recover", "Copy what a crashed trainer left to an ordinary, compressed file");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("RUN", arguments->run, "Run file, or a directory of run files")->required();
  command->add_option("-o,--output", arguments->output, "The new file, or the directory of the new files; never overwritten")
      ->required()
      ->type_name("PATH");
  command->footer(
      "The original is left alone. A run that is still being written is copied up to its last commit.\n"
      "Of a damaged file everything that can be read is kept, and what was lost is said.\n\n"
      "Exit codes: 0 everything is in the new file, 1 something was lost, 2 could not (usage, a file that is\n"
      "taken, foreign or beyond help), 3 a defect of gradhealth.\n\n"
      "Examples:\n  gradhealth recover run.h5 -o fixed.h5\n  gradhealth recover runs -o recovered");
  command->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

}  // namespace gradhealth
