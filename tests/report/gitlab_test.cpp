#include <set>
#include <sstream>
#include <string>

#include <nlohmann/json.hpp>

#include <gradhealth/report.h>

#include "report/sample.h"
#include "support/catch.h"

namespace gradhealth {

using nlohmann::json;

namespace {

json issues(const std::vector<Report>& reports, const CiOptions& options = {}) {
  std::ostringstream out;
  write_gitlab(out, reports, options);
  return json::parse(out.str());
}

}  // namespace

TEST_CASE("GitLab gets an issue for every finding that counts", "[report]") {
  CiOptions options;
  options.source = "./src/train.cpp";
  options.line = 12;
  const json list = issues({sample::suppressed()}, options);
  REQUIRE(list.size() == 2);
  CHECK(list[0]["check_name"] == "unnormalized-input");
  CHECK(list[0]["severity"] == "critical");
  CHECK(list[0]["location"] == json::parse(R"({"path": "src/train.cpp", "lines": {"begin": 12}})"));
  const std::string text = list[0]["description"];
  CHECK(text.find("Input is not normalised (input of conv1): The input has mean 72.94") == 0);
  CHECK(text.find("Fix: Normalise the input") != std::string::npos);
  CHECK(issues({sample::healthy()}).empty());
  CHECK(issues({sample::many(1, Severity::kWarning)})[0]["severity"] == "minor");
}

TEST_CASE("GitLab hears of a run without a verdict", "[report]") {
  const json list = issues({sample::empty(), Report{}});
  REQUIRE(list.size() == 2);
  CHECK(list[0]["check_name"] == "undecided");
  CHECK(list[0]["severity"] == "critical");
  CHECK(list[0]["location"]["path"] == "empty.h5");
  CHECK(list[0]["fingerprint"] != list[1]["fingerprint"]);
  CiOptions lenient;
  lenient.gate.allow_undecided = lenient.gate.allow_incomplete = true;
  CHECK(issues({sample::empty()}, lenient)[0]["severity"] == "info");
}

TEST_CASE("GitLab's and SARIF's fingerprints are the same", "[report]") {
  std::ostringstream out;
  write_sarif(out, {sample::unhealthy()});
  const json result = json::parse(out.str())["runs"][0]["results"][0];
  CHECK(issues({sample::unhealthy()})[0]["fingerprint"] == result["partialFingerprints"]["gradhealth/v1"]);
}

}  // namespace gradhealth
