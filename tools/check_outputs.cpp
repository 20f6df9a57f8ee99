#include "check_outputs.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <ostream>

#include <CLI/CLI.hpp>

#include <gradhealth/errors.h>

#include "output.h"

namespace fs = std::filesystem;
namespace gradhealth {
namespace {

using Reports = std::vector<Report>;

struct Format {
  const char* option;
  const char* help;
  void (*write)(std::ostream& out, const Reports& reports, const CiOptions& options);
};

const Format kFormats[] = {
    {"--json", "Write the diagnosis as JSON",
     [](std::ostream& out, const Reports& reports, const CiOptions&) {
       reports.size() == 1 ? write_json(out, reports.front()) : write_json(out, reports);
     }},
    {"--junit", "Write a JUnit file",
     [](std::ostream& out, const Reports& reports, const CiOptions& options) {
       write_junit(out, reports, options.gate);
     }},
    {"--sarif", "Write SARIF 2.1.0, as GitHub's code scanning takes it", &write_sarif},
    {"--gitlab", "Write GitLab's code quality report", &write_gitlab},
    {"--markdown", "Write Markdown, such as a job summary",
     [](std::ostream& out, const Reports& reports, const CiOptions&) { write_markdown(out, reports); }},
};

[[noreturn]] void refuse_both(const std::string& first, const std::string& second, const std::string& what) {
  throw UsageError(first + " and " + second + " cannot both " + what);
}

}  // namespace

void add_output_options(CLI::App& command, CheckOutputs& outputs) {
  outputs.files.resize(std::size(kFormats));
  for (std::size_t i = 0; i < outputs.files.size(); ++i)
    command.add_option(kFormats[i].option, outputs.files[i], std::string(kFormats[i].help) + "; - is standard output")
        ->type_name("FILE");
  command.add_flag("--github", outputs.github, "Print annotations for GitHub Actions: at most ten of each kind");
}

bool takes_stdout(const CheckOutputs& outputs) {
  std::string taker = outputs.github ? "--github" : "";
  for (std::size_t i = 0; i < outputs.files.size(); ++i) {
    const std::string& file = outputs.files[i];
    if (file == "-" && !taker.empty()) refuse_both(taker, kFormats[i].option, "go to standard output");
    if (file == "-") taker = kFormats[i].option;
    for (std::size_t j = 0; j < i && !file.empty() && file != "/dev/null"; ++j)
      if (outputs.files[j] == file) refuse_both(kFormats[j].option, kFormats[i].option, "write " + printable(file));
  }
  return std::find(outputs.files.begin(), outputs.files.end(), "-") != outputs.files.end();
}

void write_outputs(const CheckOutputs& outputs, const std::vector<Report>& reports, const CiOptions& options) {
  for (std::size_t i = 0; i < outputs.files.size(); ++i) {
    if (outputs.files[i].empty()) continue;
    write_output(outputs.files[i], [&](std::ostream& out) { kFormats[i].write(out, reports, options); });
  }
}

void set_source(const std::string& source, CiOptions& options) {
  std::string file = source;
  const std::size_t colon = source.rfind(':');
  const std::string line = colon == std::string::npos ? "" : source.substr(colon + 1);
  if (!line.empty() && line.find_first_not_of("0123456789") == std::string::npos) {
    options.line = line.size() < 9 ? std::stoi(line) : 0;
    if (options.line < 1) throw UsageError("--source " + printable(source) + ": no such line");
    file = source.substr(0, colon);
  }
  fs::path path = fs::path(file).lexically_normal();
  if (path.is_absolute()) path = path.lexically_relative(fs::current_path());
  if (path.empty() || path == "." || *path.begin() == "..")
    throw UsageError("--source " + printable(source) +
                     ": not a file below the working directory, which CI servers take for the repository's top");
  options.source = path.generic_string();
}

}  // namespace gradhealth
