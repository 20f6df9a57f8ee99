#include <set>
#include <sstream>
#include <string>

#include <nlohmann/json.hpp>

#include <gradhealth/report.h>
#include <gradhealth/version.h>

#include "report/sample.h"
#include "support/catch.h"

namespace gradhealth {

using nlohmann::json;

namespace {

json run_of(const std::vector<Report>& reports, const CiOptions& options = {}) {
  std::ostringstream out;
  write_sarif(out, reports, options);
  const json log = json::parse(out.str());
  REQUIRE(log["version"] == "2.1.0");
  REQUIRE(log["runs"].size() == 1);
  return log["runs"][0];
}

std::string fingerprint(const json& result) { return result["partialFingerprints"]["primaryLocationLineHash"]; }

}  // namespace

TEST_CASE("SARIF has a result for every finding, with what GitHub shows of it", "[report]") {
  const json run = run_of({sample::unhealthy()});
  const json& driver = run["tool"]["driver"];
  CHECK(driver["name"] == "gradhealth");
  CHECK(driver["semanticVersion"] == GRADHEALTH_VERSION);
  REQUIRE(run["results"].size() == 3);
  const json& root = run["results"][0];
  CHECK(root["ruleId"] == "unnormalized-input");
  CHECK(root["level"] == "error");
  CHECK(driver["rules"][root["ruleIndex"].get<std::size_t>()]["id"] == "unnormalized-input");
  const std::string text = root["message"]["text"];
  for (const char* part : {"The input has mean 72.94", "input of conv1, since step 0", "RMS of the input: 115.9 > 10",
                           "Fix: Normalise the input"})
    CHECK(text.find(part) != std::string::npos);
  CHECK(root["properties"]["consequences"][0]["rule"] == "dead-units");
  CHECK(run["results"][1]["properties"]["cause"]["rule"] == "unnormalized-input");
  CHECK(run["results"][2]["level"] == "warning");
  for (const json& rule : driver["rules"]) {
    CAPTURE(rule);
    for (const char* part : {"shortDescription", "fullDescription", "help"}) {
      const std::string words = rule[part]["text"];
      CHECK_FALSE(words.empty());
      if (std::string(part) != "help") CHECK(words.size() <= 1024);
    }
  }
}

TEST_CASE("a result points to the source that was given, else to the run file", "[report]") {
  CiOptions options;
  options.source = "src/my trainer#1.cpp";
  options.line = 40;
  const json placed = run_of({sample::unhealthy()}, options)["results"][0]["locations"][0]["physicalLocation"];
  CHECK(placed["artifactLocation"]["uri"] == "src/my%20trainer%231.cpp");
  CHECK(placed["artifactLocation"]["uriBaseId"] == "%SRCROOT%");
  CHECK(placed["region"]["startLine"] == 40);
  Report report = sample::unhealthy();
  report.run = "./runs//a:b/";
  const json alone = run_of({report})["results"][0]["locations"][0]["physicalLocation"];
  CHECK(alone["artifactLocation"]["uri"] == "runs/a%3Ab");
  CHECK(alone["region"]["startLine"] == 1);
  report.run = "/tmp/run.h5";
  const json absolute = run_of({report})["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"];
  CHECK(absolute["uri"] == "file:///tmp/run.h5");
  CHECK_FALSE(absolute.contains("uriBaseId"));
}

TEST_CASE("logical locations are the module path and what of it", "[report]") {
  Report report = sample::adversarial();
  Finding& f = report.models[1].diagnosis.roots[0].finding;
  f.subject = {"G", "conv1", "conv1.weight"};
  const json places = run_of({report})["results"][0]["locations"][0]["logicalLocations"];
  REQUIRE(places.size() == 2);
  CHECK(places[0]["kind"] == "parameter");
  CHECK(places[0]["fullyQualifiedName"] == "G/conv1.weight");
  CHECK(places[1]["kind"] == "module");
  CHECK(places[1]["name"] == "conv1");
  // The run as a whole is no place in it.
  CHECK_FALSE(run_of({report})["results"][2]["locations"][0].contains("logicalLocations"));
}

TEST_CASE("a fingerprint depends on rule, model and subject, not on steps, values or severity", "[report]") {
  const auto first = [](const Report& report) { return fingerprint(run_of({report})["results"][0]); };
  const std::string before = first(sample::unhealthy());
  CHECK(before.size() == 16);
  Report report = sample::unhealthy();
  Finding& f = report.models[0].diagnosis.roots[0].finding;
  report.run = "other.h5";
  f.first_step = 7;
  f.message = "Another message.";
  f.evidence[0].observed = 3;
  f.severity = Severity::kWarning;
  CHECK(first(report) == before);
  f.subject.name = "input of conv2";
  CHECK(first(report) != before);
  f = sample::unhealthy().models[0].diagnosis.roots[0].finding;
  f.rule = "unnormalized-target";
  CHECK(first(report) != before);
  f.rule = "unnormalized-input";
  CHECK(first(report) == before);
  f.subject.model = "G";
  CHECK(first(report) != before);
}

TEST_CASE("no two results share a fingerprint", "[report]") {
  Report again = sample::unhealthy();
  again.run = "again.h5";
  again.models[0].diagnosis.roots.push_back(again.models[0].diagnosis.roots[0]);
  std::set<std::string> seen;
  const json results = run_of({sample::unhealthy(), again, sample::adversarial()})["results"];
  for (const json& result : results) seen.insert(fingerprint(result));
  CHECK(seen.size() == results.size());
}

TEST_CASE("what is suppressed is a result that says so", "[report]") {
  const json run = run_of({sample::suppressed()});
  REQUIRE(run["results"].size() == 3);
  CHECK_FALSE(run["results"][0].contains("suppressions"));
  const json& suppression = run["results"][2]["suppressions"][0];
  CHECK(suppression["kind"] == "external");
  CHECK(suppression["justification"] == "plateaus on purpose | see #12");
  const json& expired = run["invocations"][0]["toolConfigurationNotifications"];
  REQUIRE(expired.size() == 1);
  CHECK(expired[0]["message"]["text"].get<std::string>().find("expired on 2020-01-31") != std::string::npos);
}

TEST_CASE("what was not judged is a notification, and no success where the gate wanted it judged", "[report]") {
  const json healthy = run_of({sample::healthy()})["invocations"][0];
  CHECK(healthy["executionSuccessful"] == true);
  const json run = run_of({sample::empty()});
  const json& invocation = run["invocations"][0];
  CHECK(run["results"].empty());
  CHECK(invocation["executionSuccessful"] == false);
  REQUIRE(invocation["toolExecutionNotifications"].size() == 2);
  CHECK(invocation["toolExecutionNotifications"][0]["level"] == "error");
  const json& skipped = invocation["toolExecutionNotifications"][1];
  CHECK(skipped["level"] == "note");
  const std::size_t rule = skipped["associatedRule"]["index"];
  CHECK(run["tool"]["driver"]["rules"][rule]["id"] == "dead-units");
  CiOptions lenient;
  lenient.gate.allow_undecided = lenient.gate.allow_incomplete = true;
  const json allowed = run_of({sample::empty()}, lenient)["invocations"][0];
  CHECK(allowed["executionSuccessful"] == true);
  CHECK(allowed["toolExecutionNotifications"][0]["level"] == "warning");
  CHECK(run_of({Report{}})["invocations"][0]["executionSuccessful"] == false);
}

TEST_CASE("a message of SARIF has no placeholder and no link but by us", "[report]") {
  const json run = run_of({sample::hostile("{0} [a](http://x.y)\x1b[31m")});
  const std::string text = run["results"][0]["message"]["text"];
  CHECK(text.find("{{0}} [a] (http://x.y)\\x1b[31m") == 0);
  // A rule that the catalogue does not have is described behind it.
  Report own = sample::unhealthy();
  own.models[0].diagnosis.roots[0].finding.rule = "my-rule";
  const json mine = run_of({own});
  const std::size_t index = mine["results"][0]["ruleIndex"];
  CHECK(index == catalogue().size());
  CHECK(mine["tool"]["driver"]["rules"][index]["id"] == "my-rule");
}

}  // namespace gradhealth
