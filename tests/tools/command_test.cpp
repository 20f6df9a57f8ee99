#include <algorithm>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <gradhealth/config.h>
#include <gradhealth/rules.h>
#include <gradhealth/version.h>

#include "support/catch.h"
#include "tools/shell.h"

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// As the help lists them.
std::vector<std::string> subcommands(const Folder& folder) {
  const std::string help = folder.gradhealth("--help").out;
  const std::size_t head = std::min(help.find("Subcommands:"), help.find("SUBCOMMANDS:"));  // CLI11 2.6 shouts.
  REQUIRE(head < help.size());
  std::istringstream lines(help.substr(head));
  std::vector<std::string> names;
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_search(line, match, std::regex("^  ([a-z]+)  +\\S"))) names.push_back(match[1]);
  }
  return names;
}

}  // namespace

TEST_CASE("the version says what the command was built with", "[tools]") {
  const Ran ran = Folder().gradhealth("--version");
  CHECK(ran.exit_code == 0);
  CHECK(ran.out.rfind("gradhealth " GRADHEALTH_VERSION "\n", 0) == 0);
  CHECK(contains(ran.out, "\nbuilt with "));
  CHECK(std::regex_search(ran.out, std::regex("\nbuilt with [^\n]*HDF5 [12]\\.")));
  CHECK(std::regex_search(ran.out, std::regex("\nruns with HDF5 [12]\\.")));
  CHECK(contains(ran.out, "thread-safe\n"));
}

TEST_CASE("the help names every subcommand and every exit code", "[tools]") {
  const Folder folder;
  const Ran ran = folder.gradhealth("--help");
  CHECK(ran.exit_code == 0);
  for (const char* part :
       {"report", "check", "watch", "recover", "export", "explain", "rules", "config", "Exit codes", "Examples"})
    CHECK(contains(ran.out, part));
  for (const char* command : {"report", "check", "watch", "recover", "export", "explain", "rules", "config"}) {
    const Ran help = folder.gradhealth(std::string(command) + " --help");
    CHECK(help.exit_code == 0);
    CHECK(contains(help.out, command));
    CHECK(help.err.empty());
  }
}

TEST_CASE("the manual is what the command line says", "[tools]") {
  const Folder folder;
  const std::string manual = read(GRADHEALTH_SOURCE_DIR "/tools/gradhealth.1");
  // To renew it: gradhealth __man > tools/gradhealth.1
  CHECK(folder.gradhealth("__man").out == manual);
  std::string text = manual;
  text.erase(std::remove(text.begin(), text.end(), '\\'), text.end());
  for (const std::string& command : subcommands(folder)) {
    CHECK(contains(text, ".Ss " + command + "\n"));
    const std::string help = folder.gradhealth(command + " --help").out;
    const std::regex option("--[a-z][a-z-]*");
    for (std::sregex_iterator it(help.begin(), help.end(), option), end; it != end; ++it)
      CHECK(contains(text, it->str().substr(1)));
  }
  for (const char* hidden : {"__man", "__complete"}) CHECK_FALSE(contains(folder.gradhealth("--help").out, hidden));
}

TEST_CASE("wrong use is one line and exit code 2", "[tools]") {
  const Folder folder;
  for (const char* arguments : {"",
                                "nonsense",
                                "--nonsense",
                                "report",
                                "report --nonsense run.h5",
                                "check",
                                "check run.h5 --fail-on nonsense",
                                "report run.h5 --format nonsense",
                                "report run.h5 -o report.pdf",
                                "explain",
                                "explain nonsense",
                                "config",
                                "rules extra",
                                "check a.h5 --json - --junit -",
                                "check a.h5 --github --sarif -",
                                "check a.h5 --json same --gitlab same",
                                "check a.h5 --source ../train.cpp",
                                "check a.h5 --source /etc/passwd",
                                "check a.h5 --source train.cpp:0",
                                "check a.h5 --source .",
                                "check a.h5 --source :12",
                                "check a.h5 --source train.cpp:99999999999999999999",
                                "report a.h5 b.h5",
                                "report run.h5 --color nonsense",
                                "\"$(printf 'a\\nb\\033[31m')\""}) {
    CAPTURE(arguments);
    const Ran ran = folder.gradhealth(arguments);
    CAPTURE(ran.err, ran.out, ran.exit_code);
    CHECK(refused(ran));
    CHECK_FALSE(contains(ran.err, "\x1b"));
  }
}

TEST_CASE("every rule is listed and explained", "[tools]") {
  const Folder folder;
  const Ran list = folder.gradhealth("rules");
  const Ran json = folder.gradhealth("rules --json");
  CHECK(list.exit_code == 0);
  REQUIRE(json.exit_code == 0);
  const nlohmann::json rules = nlohmann::json::parse(json.out)["rules"];
  REQUIRE(rules.size() == gradhealth::catalogue().size());
  for (const gradhealth::Rule& rule : gradhealth::catalogue()) {
    CHECK(contains(list.out, rule.info.id + " "));
    const Ran explained = folder.gradhealth("explain " + rule.info.id);
    CHECK(explained.exit_code == 0);
    CHECK(contains(explained.out, rule.info.title));
    for (const gradhealth::OptionInfo& option : rule.info.options) CHECK(contains(explained.out, option.name));
  }
}

TEST_CASE("the printed configuration is one that can be used", "[tools]") {
  const Folder folder;
  const Ran ran = folder.gradhealth("config --print-default > gradhealth.toml");
  CHECK(ran.exit_code == 0);
  CHECK_NOTHROW(gradhealth::load_config(folder / "gradhealth.toml"));
}

TEST_CASE("a reader that leaves early is no error", "[tools]") {
  const Folder folder;
  const Ran ran = folder.shell("{ \"$gradhealth\" config --print-default; echo $? > status; } | true");
  CHECK(read(folder / "status") == "0\n");
  CHECK(ran.err.empty());
}

TEST_CASE("a full disk is said in one line", "[tools]") {
  const Ran ran = Folder().gradhealth("config --print-default > /dev/full");
  CHECK(refused(ran));
  CHECK(contains(ran.err, "No space left"));
}
