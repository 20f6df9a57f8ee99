#include <sstream>
#include <string>

#include <nlohmann/json.hpp>

#include <gradhealth/report.h>

#include "report/sample.h"
#include "support/catch.h"

namespace gradhealth {

using nlohmann::json;

namespace {

template <typename T>
json parsed(const T& report) {
  std::ostringstream out;
  write_json(out, report);
  return json::parse(out.str());
}

}  // namespace

TEST_CASE("the JSON of a run carries its verdict, its findings and what was not looked at", "[report]") {
  const json j = parsed(sample::unhealthy());
  CHECK(j["schema_version"] == 1);
  CHECK(j["run"] == "raw.h5");
  CHECK(j["verdict"] == "unhealthy");
  CHECK(j["steps"] == 600);
  CHECK(j["rules_evaluated"] == 7);
  CHECK(j["rules_total"] == 8);
  CHECK(j["finished"] == true);
  CHECK(j["passed"].size() == 4);
  CHECK(j["not_evaluated"][0]["rule"] == "jacobian-growth");
  CHECK(j["not_evaluated"][0]["reason"] == "needs a closure: call monitor.replay()");
  REQUIRE(j["diagnoses"].size() == 1);
  const json& root = j["diagnoses"][0];
  CHECK(root["rule"] == "unnormalized-input");
  CHECK(root["severity"] == "error");
  CHECK(root["confidence"] == 1.0);
  CHECK(root["subject"] == "input of conv1");
  CHECK(root["subject_parts"]["module"] == "conv1");
  CHECK(root["first_step"] == 0);
  CHECK(root["last_step"] == 599);
  CHECK(root["evidence"][0]["observed"] == 115.9);
  CHECK(root["evidence"][0]["threshold"] == 10.0);
  CHECK(root["evidence"][0]["relation"] == ">");
  CHECK(root["evidence"][0]["quantity"] == "feature/std");
  CHECK(root["evidence"][1]["quantity"].is_null());
  CHECK(root["recommendations"][0]["id"] == "normalize-input");
  CHECK(root["recommendations"][0]["values"]["mean"][0] == 72.94);
  CHECK(root["consequences"][0]["rule"] == "dead-units");
  CHECK(root["consequences"][0]["consequences"][0]["subject"] == "");
}

TEST_CASE("several models are told apart in subjects and reasons", "[report]") {
  const json j = parsed(sample::adversarial());
  CHECK(j["diagnoses"][0]["subject"] == "G: input of conv1");
  CHECK(j["passed"] == json::parse(R"(["exploding-gradient", "nonfinite-loss"])"));
  CHECK(j["not_evaluated"][0]["reason"] == "D: the model has no BatchNorm");
  CHECK(j["finished"] == false);
  CHECK(j["models"].size() == 2);
  CHECK(j["models"][0]["name"] == "D");
}

TEST_CASE("numbers that JSON does not have are strings", "[report]") {
  const json j = parsed(sample::hostile("x"));
  CHECK(j["diagnoses"][0]["evidence"][0]["observed"] == "NaN");
  CHECK(j["diagnoses"][0]["evidence"][0]["threshold"] == "Infinity");
}

TEST_CASE("JSON is ASCII whatever the names are, and reads back as they were", "[report]") {
  const std::string name = "</script>\x1b[31m\n\xe2\x80\xae σ \"quoted\"";
  std::ostringstream out;
  write_json(out, sample::hostile(name));
  for (const char c : out.str()) REQUIRE((c == '\n' || (c >= ' ' && c < 0x7f)));
  CHECK(json::parse(out.str())["diagnoses"][0]["message"] == name);
  CHECK_NOTHROW(parsed(sample::hostile("\xff\xfe not UTF-8")));
}

TEST_CASE("several runs share one verdict", "[report]") {
  const json j = parsed(std::vector<Report>{sample::healthy(), sample::empty()});
  CHECK(j["verdict"] == "undecided");
  REQUIRE(j["runs"].size() == 2);
  CHECK(j["runs"][0]["verdict"] == "healthy");
  CHECK(j["runs"][1]["undecided_because"] == "no step was recorded");
}

TEST_CASE("an unfinished run without findings is undecided and says why", "[report]") {
  Report report = sample::healthy();
  report.models[0].finished = false;
  const json j = parsed(report);
  CHECK(j["verdict"] == "undecided");
  CHECK(j["undecided_because"].get<std::string>().find("not finished") != std::string::npos);
}

TEST_CASE("findings of several models are ordered by severity and onset, each model's order kept", "[report]") {
  const auto root = [](Severity severity, std::int64_t step, const char* rule) {
    DiagnosedFinding found;
    found.finding.rule = rule;
    found.finding.severity = severity;
    found.finding.first_step = step;
    return found;
  };
  Report report;
  report.models.resize(2);
  report.models[0].diagnosis.roots = {root(Severity::kError, 50, "a"), root(Severity::kWarning, 0, "b")};
  report.models[1].diagnosis.roots = {root(Severity::kError, 7, "c"), root(Severity::kError, 60, "d")};
  std::string order;
  const json j = parsed(report);
  for (const json& one : j["diagnoses"]) order += one["rule"];
  CHECK(order == "cadb");
}

TEST_CASE("the same report gives the same bytes", "[report]") {
  std::ostringstream a, b;
  write_json(a, sample::unhealthy());
  write_json(b, sample::unhealthy());
  CHECK(a.str() == b.str());
}

}  // namespace gradhealth
