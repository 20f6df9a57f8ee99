#include <string>

#include <nlohmann/json.hpp>
#include <pugixml.hpp>

#include "support/catch.h"
#include "tools/runs.h"
#include "tools/shell.h"

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("check begins with how much was judged", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "run.h5");
  const Ran ran = folder.gradhealth("check run.h5");
  const std::string first = ran.out.substr(0, ran.out.find('\n'));
  CHECK(first.find_first_not_of("0123456789") == first.find(" of "));
  CHECK(contains(first, " rules evaluated over 300 recorded steps"));
}

TEST_CASE("a healthy run passes", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "run.h5");
  const Ran ran = folder.gradhealth("check run.h5");
  CAPTURE(ran.out, ran.err);
  CHECK(ran.exit_code == 0);
  CHECK(ran.err.empty());
  CHECK(contains(ran.out, "gradhealth: HEALTHY"));
}

TEST_CASE("findings fail with exit code 1", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "good.h5");
  runs::broken(folder / "bad.h5");
  CHECK(folder.gradhealth("check bad.h5").exit_code == 1);
  CHECK(folder.gradhealth("check bad.h5 --fail-on warning").exit_code == 1);
  const Ran both = folder.gradhealth("check good.h5 bad.h5");
  CHECK(both.exit_code == 1);
  CHECK(contains(both.out, "recorded steps: good.h5\n"));
  CHECK(contains(both.out, "recorded steps: bad.h5\n"));
}

TEST_CASE("quiet prints nothing", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  const Ran ran = folder.gradhealth("check run.h5 --quiet");
  CHECK(ran.exit_code == 1);
  CHECK(ran.out.empty());
  CHECK(ran.err.empty());
}

TEST_CASE("JSON and JUnit agree with the exit code", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  const Ran ran = folder.gradhealth("check run.h5 --json - --junit result.xml");
  CHECK(ran.exit_code == 1);
  const nlohmann::json j = nlohmann::json::parse(ran.out);
  CHECK(j["verdict"] == "unhealthy");
  CHECK(j["run"] == "run.h5");
  pugi::xml_document junit;
  REQUIRE(junit.load_string(read(folder / "result.xml").c_str()));
  const pugi::xml_node suite = junit.child("testsuites").child("testsuite");
  CHECK(suite.attribute("failures").as_int() >= 1);
  CHECK(suite.attribute("tests").as_int() == static_cast<int>(j["rules_total"]));

  const Ran xml = folder.gradhealth("check run.h5 --junit -");
  CHECK(junit.load_string(xml.out.c_str()));
  const Ran several = folder.gradhealth("check run.h5 run.h5 --json -");
  CHECK(nlohmann::json::parse(several.out)["runs"].size() == 2);
}

TEST_CASE("a run of which too little was seen passes only where that is allowed", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "run.h5", 0);
  const Ran ran = folder.gradhealth("check run.h5");
  CHECK(ran.exit_code == 2);
  CHECK(contains(ran.out, "over 0 recorded steps"));
  CHECK(contains(ran.out, "UNDECIDED"));
  CHECK(folder.gradhealth("check run.h5 --allow-incomplete").exit_code == 2);
  CHECK(folder.gradhealth("check run.h5 --allow-undecided").exit_code == 0);
  CHECK(folder.gradhealth("report run.h5").exit_code == 0);
  CHECK(folder.gradhealth("report run.h5 -o empty.html").exit_code == 0);
}

TEST_CASE("an unfinished run passes only where that is allowed", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "run.h5", 300, "", runs::Ending::kUnfinished);
  const Ran ran = folder.gradhealth("check run.h5");
  CAPTURE(ran.out, ran.err);
  CHECK(ran.exit_code == 2);
  CHECK(contains(ran.out, "UNDECIDED"));
  CHECK(contains(ran.out, "not finished"));
  CHECK(folder.gradhealth("check run.h5 --allow-undecided").exit_code == 2);
  CHECK(folder.gradhealth("check run.h5 --allow-incomplete").exit_code == 0);
  CHECK(folder.gradhealth("report run.h5").exit_code == 0);
}

TEST_CASE("a file that cannot be read outweighs findings in others", "[tools]") {
  const Folder folder;
  runs::broken(folder / "bad.h5");
  write(folder / "text.h5", "no run");
  CHECK(refused(folder.gradhealth("check bad.h5 text.h5")));
}
