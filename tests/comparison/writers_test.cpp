#include <sstream>
#include <string>

#include <nlohmann/json.hpp>

#include <gradhealth/comparison.h>

#include "comparison/curves.h"
#include "report/sample.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

template <typename Write>
std::string written(Write write) {
  std::ostringstream out;
  write(out);
  return out.str();
}

std::size_t columns(const std::string& line) {
  std::size_t count = 0;
  for (const char c : line) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

const Comparison kFixed = compare(sample::unhealthy(), sample::healthy());

}  // namespace

TEST_CASE("a comparison in the terminal keeps to 80 columns and tells the whole story", "[comparison]") {
  const std::string text = written([](std::ostream& out) { write_comparison(out, kFixed); });
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    CAPTURE(line);
    CHECK(columns(line) <= 80);
  }
  CHECK(contains(text, "unhealthy → healthy"));
  CHECK(contains(text, "Resolved (3)"));
  CHECK(contains(text, "[unnormalized-input]"));
  CHECK(contains(text, "New (0)"));
  CHECK(contains(text, "final loss"));
  CHECK(contains(text, "Loss before"));
  CHECK(contains(text, "conv1.weight"));
}

TEST_CASE("a comparison in ASCII is ASCII", "[comparison]") {
  TerminalOptions options;
  options.charset = Charset::kAscii;
  const Comparison hostile = compare(sample::hostile("α\x1b[31m</script>"), sample::unhealthy());
  for (const Comparison* comparison : {&kFixed, &hostile})
    for (const char c : written([&](std::ostream& out) { write_comparison(out, *comparison, options); }))
      CHECK((c == '\n' || (c >= ' ' && c <= '~')));
}

TEST_CASE("a comparison as JSON parses and has all of it", "[comparison]") {
  const auto json = nlohmann::json::parse(written([](std::ostream& out) { write_comparison_json(out, kFixed); }));
  CHECK(json["schema_version"] == 1);
  CHECK(json["before"]["verdict"] == "unhealthy");
  const auto& model = json["models"][0];
  CHECK(model["resolved"].size() == 3);
  CHECK(model["gradient_norms"].size() == 8);
  CHECK(model["figures"][1]["what"] == "final loss");
}

TEST_CASE("a comparison as HTML loads nothing, runs nothing and shows hostile names as text", "[comparison]") {
  const Comparison hostile =
      compare(sample::hostile("</style><script>alert(1)</script>"), sample::hostile("\"><img src=x>"));
  const std::string page = written([&](std::ostream& out) { write_comparison_html(out, hostile); });
  CHECK_FALSE(contains(page, "<script"));
  CHECK_FALSE(contains(page, "<img"));
  CHECK_FALSE(contains(page, "http:"));
  CHECK_FALSE(contains(page, "https:"));
  CHECK(contains(page, "default-src 'none'"));
  const std::string plots = written([](std::ostream& out) { write_comparison_html(out, kFixed); });
  CHECK(contains(plots, "class=\"before\" d=\"M"));
  CHECK(contains(plots, "class=\"after\" d=\"M"));
  CHECK(contains(plots, "<title>conv1.weight: "));
  CHECK_FALSE(contains(plots, "nan"));
}
