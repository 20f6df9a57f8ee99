#include <cstddef>
#include <filesystem>
#include <sstream>
#include <string>

#include <nlohmann/json.hpp>
#include <pugixml.hpp>

#include "support/catch.h"
#include "tools/runs.h"
#include "tools/shell.h"

using nlohmann::json;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

json place(const json& result) { return result["locations"][0]["physicalLocation"]; }

}  // namespace

TEST_CASE("every format of a check agrees on several runs", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "good.h5");
  runs::broken(folder / "bad.h5");
  runs::healthy(folder / "short.h5", 0);
  const Ran ran = folder.gradhealth(
      "check good.h5 bad.h5 short.h5 --json a.json --junit a.xml --sarif a.sarif --gitlab gl.json --markdown a.md");
  CAPTURE(ran.out, ran.err);
  CHECK(ran.exit_code == 1);
  CHECK(contains(ran.out, "gradhealth: UNDECIDED  short.h5"));
  const json all = json::parse(read(folder / "a.json"));
  CHECK(all["verdict"] == "unhealthy");
  CHECK(all["runs"].size() == 3);
  pugi::xml_document junit;
  REQUIRE(junit.load_string(read(folder / "a.xml").c_str()));
  int failures = 0, errors = 0;
  for (const pugi::xml_node suite : junit.child("testsuites")) {
    failures += suite.attribute("failures").as_int();
    errors += suite.attribute("errors").as_int();
  }
  const json sarif = json::parse(read(folder / "a.sarif"))["runs"][0];
  CHECK(sarif["results"].size() == static_cast<std::size_t>(failures));
  CHECK(place(sarif["results"][0])["artifactLocation"]["uri"] == "bad.h5");
  CHECK(errors == 1);
  CHECK(json::parse(read(folder / "gl.json")).size() == static_cast<std::size_t>(failures) + 1);
  const std::string page = read(folder / "a.md");
  CHECK(contains(page, "# gradhealth: unhealthy, 3 runs\n"));
  for (const char* run : {"good.h5", "bad.h5", "short.h5"}) CHECK(contains(page, "`" + std::string(run) + "`"));
}

TEST_CASE("a source is what findings point to", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  const auto at = [&](const std::string& source) {
    CHECK(folder.shell("\"$gradhealth\" check run.h5 -q --sarif a.sarif --source " + source).exit_code == 1);
    return place(json::parse(read(folder / "a.sarif"))["runs"][0]["results"][0]);
  };
  const json plain = at("./src//train.cpp");
  CHECK(plain["artifactLocation"]["uri"] == "src/train.cpp");
  CHECK(plain["region"]["startLine"] == 1);
  const json line = at("src/train.cpp:40");
  CHECK(line["artifactLocation"]["uri"] == "src/train.cpp");
  CHECK(line["region"]["startLine"] == 40);
  CHECK(at("\"$PWD/src/train.cpp:7\"")["artifactLocation"]["uri"] == "src/train.cpp");
  CHECK(at("a:b")["artifactLocation"]["uri"] == "a%3Ab");
  CHECK(at("a:3:4")["artifactLocation"]["uri"] == "a%3A3");
}

TEST_CASE("annotations stand beside the text, which can run no command", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  const Ran ran = folder.gradhealth("check run.h5 --github --source src/train.cpp:12 --json run.json");
  CHECK(ran.exit_code == 1);
  CHECK(ran.out.rfind("::stop-commands::gradhealth-end\n", 0) == 0);
  const std::size_t text_ends = ran.out.find("\n::gradhealth-end::\n");
  REQUIRE(text_ends != std::string::npos);
  CHECK(ran.out.find("gradhealth: UNHEALTHY") < text_ends);
  CHECK(ran.out.find("\n::error title=gradhealth%3A Weight is not finite [nonfinite-weight],file=src/train.cpp,"
                     "line=12::run.h5: ") > text_ends);
  const Ran quiet = folder.gradhealth("check run.h5 --github --quiet");
  CHECK(quiet.out.rfind("::error title=", 0) == 0);
  CHECK_FALSE(contains(quiet.out, "stop-commands"));
}

TEST_CASE("two formats cannot go to one place", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "run.h5");
  for (const char* arguments : {"--json - --sarif -", "--github --markdown -", "--gitlab - --junit -",
                                "--json same --sarif same", "--github --json -", "--source ../x", "--source x:0"}) {
    CAPTURE(arguments);
    const Ran ran = folder.gradhealth("check run.h5 " + std::string(arguments));
    CAPTURE(ran.err);
    CHECK(refused(ran));
    CHECK_FALSE(std::filesystem::exists(folder / "same"));
  }
  CHECK(folder.gradhealth("check run.h5 --json a --sarif b --gitlab - --markdown /dev/null --junit /dev/null")
            .exit_code == 0);
}

TEST_CASE("the environment of a CI server changes nothing", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  const Ran before = folder.gradhealth("check run.h5");
  const Ran after = folder.shell(
      "CI=true GITHUB_ACTIONS=true GITLAB_CI=true JENKINS_URL=x GITHUB_STEP_SUMMARY=summary.md FORCE_COLOR=1 "
      "LANG=C LC_ALL=C \"$gradhealth\" check run.h5");
  CHECK(before.out == after.out);
  CHECK(before.exit_code == after.exit_code);
  CHECK(read(folder / "summary.md").empty());
}

TEST_CASE("ASCII and NO_COLOR are respected by check and report", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  for (const char* command : {"check", "report"}) {
    const std::string text = folder.gradhealth(std::string(command) + " run.h5 --ascii --color never").out;
    CHECK(contains(text, "Over the run:"));
    for (const char c : text) REQUIRE((c == '\n' || (c >= ' ' && c < 0x7f)));
    CHECK(contains(folder.gradhealth(std::string(command) + " run.h5").out,
                   "\xe2\x96\xb2 nonfinite-weight since step 40"));
  }
}

TEST_CASE("what is suppressed is told in every format, and counts in none", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  std::string config;
  for (const char* rule : {"nonfinite-weight", "nonfinite-gradient", "nonfinite-loss"})
    config += "[[suppressions]]\nrule = \"" + std::string(rule) + "\"\nreason = \"known, see the wiki\"\n";
  write(folder / "accepted.toml",
        config + "[[suppressions]]\nrule = \"nonfinite-loss\"\nreason = \"old\"\n" + "expires = 2020-01-31\n");
  const Ran ran = folder.gradhealth(
      "check run.h5 --config accepted.toml --json a.json --junit a.xml --sarif a.sarif --gitlab gl.json --markdown "
      "a.md");
  CAPTURE(ran.out, ran.err);
  CHECK(ran.exit_code == 0);
  CHECK(contains(ran.out, "Suppressed: nonfinite-loss, whole run: known, see the wiki\n"));
  const json model = json::parse(read(folder / "a.json"))["models"][0];
  CHECK(model["suppressed"].size() == 3);
  CHECK(contains(read(folder / "a.xml"), "<skipped message=\"suppressed: known, see the wiki\" />"));
  const json sarif = json::parse(read(folder / "a.sarif"));
  for (const json& result : sarif["runs"][0]["results"])
    CHECK(result["suppressions"][0]["justification"] == "known, see the wiki");
  CHECK(json::parse(read(folder / "gl.json")).empty());
  CHECK(contains(read(folder / "a.md"), "- Suppressed: `nonfinite-loss`, whole run: known, see the wiki\n"));
  CHECK(folder.gradhealth("check run.h5 --config accepted.toml --github -q").out.empty());
}

TEST_CASE("a report is written as Markdown, by suffix or by name", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  CHECK(folder.gradhealth("report run.h5 -o a.md").exit_code == 0);
  CHECK(read(folder / "a.md") == folder.gradhealth("report run.h5 --format markdown").out);
  CHECK(read(folder / "a.md") == folder.gradhealth("check run.h5 --markdown -").out);
}

TEST_CASE("every command that CI.md and the README show for a CI job works as it stands there", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  runs::broken(folder / "generator.h5");
  runs::healthy(folder / "discriminator.h5");
  write(folder / "gradhealth.toml", "[[suppressions]]\nrule = \"nonfinite-loss\"\nreason = \"known\"\n");
  std::size_t commands = 0;
  for (const char* document : {"/tools/CI.md", "/README.md"}) {
    std::istringstream page(read(std::string(GRADHEALTH_SOURCE_DIR) + document));
    for (std::string line; std::getline(page, line);) {
      for (const char* command : {"gradhealth check ", "jq "}) {
        const std::size_t begin = line.find(command);
        // A command of its own, behind `run:`, `sh '` or the dash of a list; not one within a sentence.
        if (begin == std::string::npos || line.find("RUN") != std::string::npos || line.find('`') < begin) continue;
        std::string shown = line.substr(begin);
        if (begin > 0 && line[begin - 1] == '\'') shown.pop_back();
        const Ran ran = folder.shell(
            "PATH=\"$(dirname \"$gradhealth\"):$PATH\" GITHUB_STEP_SUMMARY=summary.md; export PATH; " + shown);
        CAPTURE(shown, ran.out, ran.err);
        CHECK(ran.err.empty());
        CHECK(ran.exit_code == (command[0] == 'j' ? 0 : 1));
        ++commands;
      }
    }
  }
  CHECK(commands >= 6);
  CHECK(contains(read(folder / "summary.md"), "## gradhealth: unhealthy"));
  CHECK(json::parse(read(folder / "gl-code-quality-report.json")).size() == 3);
}

TEST_CASE("what CI.md's jq leaves for GitHub holds nothing that is suppressed", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  write(folder / "gradhealth.toml", "[[suppressions]]\nrule = \"nonfinite-loss\"\nreason = \"known\"\n");
  const std::string page = read(std::string(GRADHEALTH_SOURCE_DIR) + "/tools/CI.md");
  const std::size_t begin = page.find("jq '");
  REQUIRE(begin != std::string::npos);
  folder.gradhealth("check run.h5 -q --config gradhealth.toml --sarif all.sarif");
  const Ran ran = folder.shell(page.substr(begin, page.find('\n', begin) - begin));
  CAPTURE(ran.err);
  REQUIRE(ran.exit_code == 0);
  const json left = json::parse(read(folder / "gradhealth.sarif"))["runs"][0];
  CHECK(left["results"].size() == 2);
  CHECK(left["tool"] == json::parse(read(folder / "all.sarif"))["runs"][0]["tool"]);
}
