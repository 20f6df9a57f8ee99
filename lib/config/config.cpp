#include <gradhealth/config.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <system_error>

#include <fmt/format.h>
#include <toml++/toml.h>

#include <gradhealth/errors.h>
#include <gradhealth/rules.h>

namespace gradhealth {
namespace {

[[noreturn]] void fail(const std::string& origin, const toml::source_region& where, const std::string& what) {
  throw UsageError(fmt::format("{}:{}:{}: {}", origin, where.begin.line, where.begin.column, what));
}

Severity severity_of(const toml::node& node, const std::string& origin) {
  const auto text = node.value_exact<std::string>();
  for (const Severity severity : {Severity::kInfo, Severity::kWarning, Severity::kError})
    if (text && *text == name(severity)) return severity;
  fail(origin, node.source(), "severity must be \"info\", \"warning\" or \"error\"");
}

std::string known_keys(const RuleInfo& rule) {
  std::string keys = "enabled, severity";
  for (const OptionInfo& option : rule.options) keys += ", " + option.name;
  return keys;
}

RuleSettings settings_of(const RuleInfo& rule, const toml::table& table, const std::string& origin) {
  RuleSettings settings;
  for (const auto& [key, node] : table) {
    const std::string option(key.str());
    if (option == "enabled") {
      const auto enabled = node.value_exact<bool>();
      if (!enabled) fail(origin, node.source(), "enabled must be true or false");
      settings.enabled = *enabled;
    } else if (option == "severity") {
      settings.severity = severity_of(node, origin);
    } else if (std::any_of(rule.options.begin(), rule.options.end(),
                           [&](const OptionInfo& each) { return each.name == option; })) {
      if (!node.is_number()) fail(origin, node.source(), fmt::format("{} must be a number", option));
      const double value = *node.value<double>();
      if (!std::isfinite(value)) fail(origin, node.source(), fmt::format("{} must be a finite number", option));
      settings.options[option] = value;
    } else {
      fail(origin, key.source(),
           fmt::format("rule \"{}\" has no option \"{}\"; it has {}", rule.id, option, known_keys(rule)));
    }
  }
  return settings;
}

}  // namespace

DiagnosisOptions parse_config(std::string_view text, const std::string& origin) {
  toml::table root;
  try {
    root = toml::parse(text, origin);
  } catch (const toml::parse_error& error) {
    fail(origin, error.source(), std::string(error.description()));
  }
  DiagnosisOptions options;
  for (const auto& [key, node] : root) {
    if (key.str() != "rules")
      fail(origin, key.source(), fmt::format("unknown key \"{}\"; there is only [rules.<id>]", key.str()));
    const toml::table* rules = node.as_table();
    if (rules == nullptr) fail(origin, node.source(), "rules must be a table: [rules.<id>]");
    for (const auto& [id, entry] : *rules) {
      const Rule* rule = find_rule(catalogue(), std::string(id.str()));
      if (rule == nullptr) fail(origin, id.source(), fmt::format("there is no rule \"{}\"", id.str()));
      const toml::table* table = entry.as_table();
      if (table == nullptr)
        fail(origin, entry.source(), fmt::format("rules.{0} must be a table: [rules.{0}]", id.str()));
      options[rule->info.id] = settings_of(rule->info, *table, origin);
    }
  }
  return options;
}

DiagnosisOptions load_config(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    throw IoError(fmt::format("{}: is a directory; name a TOML file", path.string()));
  std::ifstream file(path, std::ios::binary);
  if (!file) throw IoError(fmt::format("{}: cannot be opened; does it exist and may you read it?", path.string()));
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) throw IoError(fmt::format("{}: cannot be read to its end", path.string()));
  return parse_config(text, path.string());
}

std::string default_config() {
  std::string text =
      "# Every rule with every option at its default. Keep what you change; the rest may go.\n"
      "# severity = \"info\", \"warning\" or \"error\" replaces the severity of all findings of a rule.\n";
  for (const Rule& rule : catalogue()) {
    text += fmt::format("\n# {}.\n[rules.{}]\nenabled = true\n", rule.info.title, rule.info.id);
    for (const OptionInfo& option : rule.info.options)
      text += fmt::format("{} = {}  # {}\n", option.name, option.default_value, option.meaning);
  }
  return text;
}

}  // namespace gradhealth
