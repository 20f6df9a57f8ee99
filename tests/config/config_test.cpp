#include <filesystem>
#include <fstream>
#include <string>

#include <gradhealth/config.h>
#include <gradhealth/errors.h>

#include "support/catch.h"

using namespace gradhealth;

namespace {

std::string message_of(const std::string& toml) {
  try {
    parse_config(toml, "ci.toml");
  } catch (const UsageError& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a rule's table sets what it names and leaves the rest", "[config]") {
  const DiagnosisOptions options = parse_config(
      "[rules.dead-units]\nenabled = true\nseverity = \"warning\"\nerror-fraction = 0.8\nsilent-steps = 4\n"
      "[rules.nonfinite-loss]\nenabled = false\n",
      "ci.toml");
  REQUIRE(options.rules.size() == 2);
  const RuleSettings& dead = options.rules.at("dead-units");
  CHECK(dead.enabled);
  CHECK(dead.severity == Severity::kWarning);
  CHECK(dead.options == RuleOptions{{"error-fraction", 0.8}, {"silent-steps", 4}});
  CHECK_FALSE(options.rules.at("nonfinite-loss").enabled);
  CHECK_FALSE(options.rules.at("nonfinite-loss").severity.has_value());
  CHECK(parse_config("", "ci.toml").rules.empty());
}

TEST_CASE("errors name the origin, the line and the column", "[config]") {
  CHECK(message_of("[rules.dead-units]\nerror-fractoin = 1\n").find("ci.toml:2:1: ") == 0);
  CHECK(message_of("[rules.dead-unit]\n").find("ci.toml:1:8: ") == 0);
  CHECK(message_of("\nrules = 1\n").find("ci.toml:2:9: ") == 0);
  CHECK(message_of("[rule.dead-units]\n").find("ci.toml:1:2: ") == 0);
  CHECK(message_of("[rules.dead-units]\nenabled = 1\n").find("ci.toml:2:11: ") == 0);
  CHECK(message_of("[rules.dead-units]\nseverity = \"fatal\"\n").find("ci.toml:2:12: ") == 0);
  CHECK(message_of("[rules.dead-units]\nerror-fraction = \"high\"\n").find("ci.toml:2:18: ") == 0);
  CHECK(message_of("[rules.dead-units]\nerror-fraction = nan\n").find("ci.toml:2:18: ") == 0);
  CHECK(message_of("[rules.dead-units\n").find("ci.toml:1:") == 0);
}

TEST_CASE("suppressions are read with their place, and each needs a rule and a reason", "[config]") {
  const DiagnosisOptions options = parse_config(
      "[[suppressions]]\nrule = \"dead-units\"\nsubject = \"encoder.*\"\nreason = \"pruned\"\nexpires = 2027-01-31\n"
      "[[suppressions]]\nrule = \"nonfinite-loss\"\nreason = \"expected\"\n[rules.dead-units]\nsubjects = [\"a.*\"]\n",
      "ci.toml");
  REQUIRE(options.suppressions.size() == 2);
  CHECK(options.suppressions[0].subject == "encoder.*");
  CHECK(options.suppressions[0].expires == "2027-01-31");
  CHECK(options.suppressions[1].subject == "*");
  CHECK(options.suppressions[1].expires.empty());
  CHECK(options.rules.at("dead-units").subjects == std::vector<std::string>{"a.*"});
  CHECK(options.today.size() == 10);
  CHECK(message_of("[[suppressions]]\nrule = \"dead-units\"\n").find("ci.toml:1:1: a suppression needs a reason") == 0);
  CHECK(message_of("[[suppressions]]\nreason = \"x\"\n").find("needs a rule") != std::string::npos);
  CHECK(message_of("[[suppressions]]\nrule = \"dead-unit\"\n").find("ci.toml:2:8: ") == 0);
  CHECK(message_of("[[suppressions]]\nexpires = \"soon\"\n").find("ci.toml:2:11: ") == 0);
  CHECK(message_of("[[suppressions]]\nuntil = 1\n").find("ci.toml:2:1: ") == 0);
  CHECK(message_of("[suppressions]\nrule = \"dead-units\"\n").find("[[suppressions]]") != std::string::npos);
  CHECK(message_of("[rules.dead-units]\nsubjects = \"a\"\n").find("ci.toml:2:12: ") == 0);
}

TEST_CASE("an unknown option's message lists the options there are", "[config]") {
  CHECK(message_of("[rules.dead-units]\nerror-fractoin = 1\n").find("error-fraction") != std::string::npos);
}

TEST_CASE("the default configuration parses back to the defaults of every rule", "[config]") {
  const DiagnosisOptions options = parse_config(default_config(), "default");
  REQUIRE(options.rules.size() == catalogue().size());
  for (const Rule& rule : catalogue()) {
    const RuleSettings& settings = options.rules.at(rule.info.id);
    CHECK(settings.enabled);
    CHECK_FALSE(settings.severity.has_value());
    CHECK(settings.options.size() == rule.info.options.size());
    for (const OptionInfo& option : rule.info.options) CHECK(settings.options.at(option.name) == option.default_value);
    CHECK(rule.make_judge(settings.options) != nullptr);
  }
}

TEST_CASE("a file that cannot be read is told by its name", "[config]") {
  const auto directory = std::filesystem::temp_directory_path() / "gradhealth-config-test";
  std::filesystem::create_directories(directory);
  CHECK_THROWS_AS(load_config(directory / "missing.toml"), IoError);
  CHECK_THROWS_AS(load_config(directory), IoError);
  std::ofstream(directory / "ok.toml") << "[rules.dead-units]\nenabled = false\n";
  CHECK_FALSE(load_config(directory / "ok.toml").rules.at("dead-units").enabled);
  std::filesystem::remove_all(directory);
}
