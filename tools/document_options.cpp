#include "document_options.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include <CLI/CLI.hpp>

#include <gradhealth/errors.h>

#include "output.h"

namespace gradhealth {
namespace {

/// "terminal, html or json".
std::string listed(const std::vector<std::string>& words) {
  std::string list;
  for (std::size_t i = 0; i < words.size(); ++i)
    list += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + words[i];
  return list;
}

}  // namespace

void add_document_options(CLI::App& command, const std::vector<std::string>& formats, DocumentOptions& options) {
  command.add_option("-o,--output", options.output, "Write to FILE; - is standard output")->type_name("FILE");
  command.add_option("--format", options.format, listed(formats) + "; else by FILE's suffix, else terminal")
      ->check(CLI::IsMember(formats))
      ->type_name("FORMAT");
  command.add_option("--color", options.colour, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("WHEN");
  command.add_flag("--ascii", options.ascii, "Nothing but ASCII on the terminal");
}

std::string format_of(const DocumentOptions& options, const std::vector<std::string>& formats) {
  if (!options.format.empty()) return options.format;
  static const std::map<std::string, std::string> by_suffix{{"", "terminal"},  {".txt", "terminal"},
                                                            {".html", "html"}, {".htm", "html"},
                                                            {".json", "json"}, {".md", "markdown"}};
  const auto found = by_suffix.find(std::filesystem::path(options.output).extension().string());
  if (found != by_suffix.end() && std::find(formats.begin(), formats.end(), found->second) != formats.end())
    return found->second;
  const std::string list = listed(formats);
  throw UsageError("cannot tell the format from the suffix of " + printable(options.output) + ": add --format " + list);
}

TerminalOptions terminal_options(const DocumentOptions& options) {
  TerminalOptions terminal = terminal_options(options.colour);
  if (options.output != "-" && options.colour == "auto") terminal.colour = Colour::kNever;
  if (options.ascii) terminal.charset = Charset::kAscii;
  return terminal;
}

}  // namespace gradhealth
