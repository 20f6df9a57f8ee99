#include <algorithm>
#include <sstream>
#include <string>

#include <nlohmann/json.hpp>

#include <gradhealth/report.h>

#include "report/sample.h"
#include "support/catch.h"

namespace gradhealth {

using nlohmann::json;

namespace {

std::string page(const Report& report) {
  std::ostringstream out;
  write_html(out, report);
  return out.str();
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

json embedded(const std::string& text) {
  const std::string open = "id=\"gradhealth-data\">";
  const std::size_t begin = text.find(open) + open.size();
  return json::parse(text.substr(begin, text.find("</script>", begin) - begin));
}

/// The page before its data and scripts: what a reader without JavaScript has.
std::string readable(const std::string& text) { return text.substr(0, text.find("<script")); }

}  // namespace

TEST_CASE("the findings stand in the page without any script", "[report]") {
  const std::string text = readable(page(sample::unhealthy()));
  for (const char* part :
       {"unhealthy", "raw.h5", "7 of 8 rules evaluated over 600 recorded steps", "unnormalized-input", "input of conv1",
        "since step 0", "mean 72.94", "115.9", "&gt; 10", "Normalise the input", "Normalize&lt;&gt;(72.94, 90.02)",
        "Led to 2 more findings", "dead-units", "needs a closure", "vanishing-gradient", "SGD, momentum 0.9",
        "./train --data raw"})
    CHECK(contains(text, part));
}

TEST_CASE("the page loads nothing", "[report]") {
  const std::string text = page(sample::unhealthy());
  CHECK_FALSE(contains(readable(text), "<link"));
  CHECK_FALSE(contains(text, "sourceMappingURL"));
  CHECK_FALSE(contains(text, "@import"));
  CHECK_FALSE(contains(readable(text), " src="));
  CHECK_FALSE(contains(readable(text), " href="));
  CHECK_FALSE(contains(text, "<script src"));
  CHECK(contains(text, "default-src 'none'"));
}

TEST_CASE("the licence of dygraphs goes with it", "[report]") {
  const std::string text = page(sample::healthy());
  CHECK(contains(text, "Dan Vanderkam"));
  CHECK(contains(text, "Permission is hereby granted, free of charge"));
}

TEST_CASE("hostile names are text and nothing else", "[report]") {
  const std::size_t scripts = occurrences(page(sample::healthy()), "<script");
  const std::size_t ends = occurrences(page(sample::healthy()), "</script");
  for (const std::string name : {"</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>",
                                 "\"><svg onload=alert(1)>", "<!--", "]]>"}) {
    CAPTURE(name);
    const std::string text = page(sample::hostile(name));
    CHECK(occurrences(text, "<script") == scripts);
    CHECK(occurrences(text, "</script") == ends);
    CHECK_FALSE(contains(text, name == "]]>" ? "nothing" : name));
    CHECK(embedded(text)["report"]["diagnoses"][0]["message"] == name);
    CHECK(embedded(text)["plots"][0]["heatmap"]["subjects"][0] == name);
  }
}

TEST_CASE("the plots' data has every parameter and every column", "[report]") {
  const json plots = embedded(page(sample::unhealthy()))["plots"];
  REQUIRE(plots.size() == 1);
  const json& heatmap = plots[0]["heatmap"];
  CHECK(heatmap["subjects"].size() == 8);
  REQUIRE(heatmap["rows"].size() == 8);
  CHECK(heatmap["step"].size() == 600);
  CHECK(heatmap["rows"][0].get<std::string>().size() == (600 * 2 + 2) / 3 * 4);
  CHECK(plots[0]["loss"]["step"].size() == 600);
  CHECK(plots[0]["norm"]["nonfinite"].size() == 39);
  CHECK(plots[0]["marks"].size() == 3);
  CHECK(plots[0]["marks"][0] == json::parse(R"({"step": 0, "severity": "error", "label": "1"})"));
}

TEST_CASE("a large run makes a small page", "[report]") {
  CHECK(page(sample::large(200, 5000)).size() < 1'000'000);
  CHECK(page(sample::large(1000, 100)).size() < 2'000'000);
}

TEST_CASE("a run without steps or without models makes a page that claims nothing", "[report]") {
  for (const Report& report : {sample::empty(), Report{}}) {
    const std::string text = page(report);
    CHECK(contains(text, "cannot be called healthy"));
    CHECK(embedded(text)["plots"].size() == report.models.size());
  }
}

TEST_CASE("the same report gives the same page", "[report]") {
  CHECK(page(sample::adversarial()) == page(sample::adversarial()));
}

}  // namespace gradhealth
