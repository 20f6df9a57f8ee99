#include <gradhealth/config.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>
#include <iterator>
#include <system_error>

#include <fmt/chrono.h>
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

std::vector<std::string> globs_of(const toml::node& node, const std::string& origin) {
  std::vector<std::string> globs;
  const toml::array* array = node.as_array();
  if (array == nullptr) fail(origin, node.source(), "subjects must be an array of globs: [\"encoder.*\"]");
  for (const toml::node& each : *array) {
    const auto glob = each.value_exact<std::string>();
    if (!glob || glob->empty()) fail(origin, each.source(), "a subject is a glob in quotes: \"encoder.*\"");
    globs.push_back(*glob);
  }
  return globs;
}

std::string known_keys(const RuleInfo& rule) {
  std::string keys = "enabled, severity, subjects";
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
    } else if (option == "subjects") {
      settings.subjects = globs_of(node, origin);
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

const Rule& rule_of(const std::vector<Rule>& known, std::string_view id, const toml::source_region& where,
                    const std::string& origin) {
  const Rule* rule = find_rule(known, std::string(id));
  if (rule == nullptr) fail(origin, where, fmt::format("there is no rule \"{}\"", id));
  return *rule;
}

void read_rules(const toml::node& node, const std::vector<Rule>& known, const std::string& origin,
                DiagnosisOptions& options) {
  const toml::table* rules = node.as_table();
  if (rules == nullptr) fail(origin, node.source(), "rules must be a table: [rules.<id>]");
  for (const auto& [id, entry] : *rules) {
    const Rule& rule = rule_of(known, id.str(), id.source(), origin);
    const toml::table* table = entry.as_table();
    if (table == nullptr) fail(origin, entry.source(), fmt::format("rules.{0} must be a table: [rules.{0}]", id.str()));
    options.rules[rule.info.id] = settings_of(rule.info, *table, origin);
  }
}

std::string text_of(const toml::node& node, std::string_view key, const std::string& origin) {
  const auto text = node.value_exact<std::string>();
  if (!text || text->empty()) fail(origin, node.source(), fmt::format("{} must be text in quotes, not empty", key));
  return *text;
}

std::string date_of(const toml::node& node, const std::string& origin) {
  const auto date = node.value_exact<toml::date>();
  if (!date) fail(origin, node.source(), "expires must be a date without quotes: 2027-01-31");
  return fmt::format("{:04}-{:02}-{:02}", date->year, date->month, date->day);
}

Suppression suppression_of(const toml::table& table, const std::vector<Rule>& known, const std::string& origin) {
  Suppression suppression;
  for (const auto& [key, node] : table) {
    if (key.str() == "rule")
      suppression.rule = rule_of(known, text_of(node, "rule", origin), node.source(), origin).info.id;
    else if (key.str() == "subject")
      suppression.subject = text_of(node, "subject", origin);
    else if (key.str() == "reason")
      suppression.reason = text_of(node, "reason", origin);
    else if (key.str() == "expires")
      suppression.expires = date_of(node, origin);
    else
      fail(origin, key.source(),
           fmt::format("a suppression has no \"{}\"; it has rule, subject, reason, expires", key.str()));
  }
  if (suppression.rule.empty()) fail(origin, table.source(), "a suppression needs a rule");
  if (suppression.reason.empty()) fail(origin, table.source(), "a suppression needs a reason");
  return suppression;
}

void read_suppressions(const toml::node& node, const std::vector<Rule>& known, const std::string& origin,
                       DiagnosisOptions& options) {
  const toml::array* array = node.as_array();
  if (array == nullptr) fail(origin, node.source(), "suppressions must be tables: [[suppressions]]");
  for (const toml::node& each : *array) {
    const toml::table* table = each.as_table();
    if (table == nullptr) fail(origin, each.source(), "a suppression must be a table: [[suppressions]]");
    options.suppressions.push_back(suppression_of(*table, known, origin));
  }
}

std::string today() { return fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr))); }

}  // namespace

DiagnosisOptions parse_config(std::string_view text, const std::string& origin, const std::vector<Rule>& known) {
  toml::table root;
  try {
    root = toml::parse(text, origin);
  } catch (const toml::parse_error& error) {
    fail(origin, error.source(), std::string(error.description()));
  }
  DiagnosisOptions options;
  options.today = today();
  for (const auto& [key, node] : root) {
    if (key.str() == "rules")
      read_rules(node, known, origin, options);
    else if (key.str() == "suppressions")
      read_suppressions(node, known, origin, options);
    else
      fail(origin, key.source(),
           fmt::format("unknown key \"{}\"; there are [rules.<id>] and [[suppressions]]", key.str()));
  }
  return options;
}

DiagnosisOptions load_config(const std::filesystem::path& path, const std::vector<Rule>& known) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error))
    throw IoError(fmt::format("{}: is a directory; name a TOML file", path.string()));
  std::ifstream file(path, std::ios::binary);
  if (!file) throw IoError(fmt::format("{}: cannot be opened; does it exist and may you read it?", path.string()));
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) throw IoError(fmt::format("{}: cannot be read to its end", path.string()));
  return parse_config(text, path.string(), known);
}

std::string default_config() {
  std::string text =
      "# Every rule with every option at its default. Keep what you change; the rest may go.\n"
      "# severity = \"info\", \"warning\" or \"error\" replaces the severity of all findings of a rule.\n"
      "# subjects = [\"encoder.*\"] keeps only findings about modules, parameters, activations or features of such "
      "names.\n"
      "#\n"
      "# Findings that are accepted, until a day if \"expires\" is there:\n"
      "# [[suppressions]]\n"
      "# rule = \"dead-units\"\n"
      "# subject = \"encoder.*\"\n"
      "# reason = \"pruned on purpose\"\n"
      "# expires = 2027-01-31\n";
  for (const Rule& rule : catalogue()) {
    text += fmt::format("\n# {}.\n[rules.{}]\nenabled = true\n", rule.info.title, rule.info.id);
    for (const OptionInfo& option : rule.info.options)
      text += fmt::format("{} = {}  # {}\n", option.name, option.default_value, option.meaning);
  }
  return text;
}

}  // namespace gradhealth
