#include <algorithm>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include <gradhealth/rules.h>

#include "commands.h"
#include "described.h"
#include "output.h"

namespace gradhealth {

namespace {

/// A word that may come next, and what it is.
using Candidate = std::pair<std::string, std::string>;

std::vector<std::string> names_of(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  return names;
}

std::vector<Candidate> option_names(const CLI::App& app) {
  std::vector<Candidate> names;
  for (const CLI::Option* option : options_of(app))
    for (const std::string& name : names_of(*option)) names.emplace_back(name, option->get_description());
  return names;
}

const CLI::Option* option_called(const CLI::App& app, const std::string& name) {
  for (const CLI::Option* option : options_of(app)) {
    const std::vector<std::string> names = names_of(*option);
    if (std::find(names.begin(), names.end(), name) != names.end()) return option;
  }
  return nullptr;
}

const CLI::App* command_called(const CLI::App& app, const std::string& name) {
  for (const CLI::App* command : commands_of(app))
    if (command->get_name() == name) return command;
  return nullptr;
}

/// What may stand where the last word stands; nothing where it may be anything, such as a file.
std::vector<Candidate> candidates(const CLI::App& app, const std::vector<std::string>& words) {
  const std::string& current = words.back();
  const CLI::App* command = words.size() > 1 ? command_called(app, words.front()) : nullptr;
  const bool is_option = !current.empty() && current.front() == '-';
  std::vector<Candidate> found;
  if (command == nullptr) {
    if (words.size() > 1) return found;
    if (is_option) return option_names(app);
    for (const CLI::App* each : commands_of(app)) found.emplace_back(each->get_name(), each->get_description());
    return found;
  }
  const CLI::Option* before = words.size() > 2 ? option_called(*command, words[words.size() - 2]) : nullptr;
  if (before != nullptr && takes_value(*before)) {
    for (const std::string& choice : choices_of(*before)) found.emplace_back(choice, "");
    return found;
  }
  if (is_option) return option_names(*command);
  if (command->get_name() == "explain")
    for (const Rule& rule : catalogue()) found.emplace_back(rule.info.id, rule.info.title);
  return found;
}

}  // namespace

void add_complete_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("__complete", "Words that may come next, for shells");
  command->group("");
  auto words = std::make_shared<std::vector<std::string>>();
  command->add_option("WORDS", *words, "The command line up to the cursor, after --");
  command->callback([&app, words, &exit_code] {
    if (words->empty()) words->emplace_back();
    write_stdout([&](std::ostream& out) {
      for (const auto& [word, description] : candidates(app, *words))
        if (word.rfind(words->back(), 0) == 0) out << word << '\t' << description << '\n';
    });
    exit_code = kExitOk;
  });
}

}  // namespace gradhealth
