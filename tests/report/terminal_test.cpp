#include <sstream>
#include <string>

#include <gradhealth/report.h>

#include "report/sample.h"
#include "report/wrap.h"
#include "support/catch.h"

namespace gradhealth {

namespace {

std::string text(const Report& report, const TerminalOptions& options = {}) {
  std::ostringstream out;
  write_terminal(out, report, options);
  return out.str();
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the first screen tells what, where, since when, why, and the fix as code", "[report]") {
  const std::string all = text(sample::unhealthy());
  std::string screen, line;
  std::istringstream lines(all);
  for (int i = 0; i < 24 && std::getline(lines, line); ++i) screen += line + '\n';
  CHECK(screen.rfind("gradhealth: UNHEALTHY  raw.h5  (7 of 8 rules evaluated over 600 recorded steps)\n", 0) == 0);
  CHECK(contains(screen, "[unnormalized-input]"));
  CHECK(contains(screen, "input of conv1, since step 0"));
  CHECK(contains(screen, "RMS of the input of channel 0: 115.9 > 10"));
  CHECK(contains(screen, "Fix: Normalise the input"));
  CHECK(contains(screen, "           .map(torch::data::transforms::Normalize<>(72.94, 90.02))\n"));
  CHECK(contains(all, "led to:"));
  CHECK(contains(all, "conv1:relu, since step 4"));
  CHECK(contains(all, "Passed (4): "));
  CHECK(contains(all, "jacobian-growth: needs a closure"));
}

TEST_CASE("text stays within the width of the terminal", "[report]") {
  for (const std::size_t width : {60u, 80u, 120u}) {
    std::istringstream lines(text(sample::adversarial(), {Colour::kNever, width}));
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
      CAPTURE(line);
      // Code keeps its own lines.
      if (!contains(line, "torch::")) CHECK(display_width(line) <= width);
    }
  }
}

TEST_CASE("colour is there only when it is asked for, and changes nothing else", "[report]") {
  const std::string plain = text(sample::unhealthy());
  CHECK_FALSE(contains(plain, "\x1b"));
  std::string coloured = text(sample::unhealthy(), {Colour::kAlways, 80});
  CHECK(contains(coloured, "\x1b["));
  for (std::size_t at = coloured.find('\x1b'); at != std::string::npos; at = coloured.find('\x1b'))
    coloured.erase(at, coloured.find('m', at) - at + 1);
  CHECK(coloured == plain);
}

TEST_CASE("names cannot steer the terminal nor fake a line", "[report]") {
  const std::string shown = text(sample::hostile("\x1b]0;title\x07\ngradhealth: HEALTHY\r\xc2\x9b"));
  for (const char c : shown) REQUIRE((c == '\n' || static_cast<unsigned char>(c) >= ' '));
  CHECK_FALSE(contains(shown, "\ngradhealth: HEALTHY"));
}

TEST_CASE("an undecided run says why and is not called healthy", "[report]") {
  const std::string shown = text(sample::empty());
  CHECK(contains(shown, "UNDECIDED"));
  CHECK(contains(shown, "because no step was recorded"));
  CHECK_FALSE(contains(shown, "HEALTHY"));
  Report unfinished = sample::healthy();
  unfinished.models[0].finished = false;
  CHECK(contains(text(unfinished), "gradhealth: UNDECIDED"));
}

TEST_CASE("a guess is called one", "[report]") {
  Report report = sample::unhealthy();
  report.models[0].diagnosis.roots[0].finding.recommendations[0].confidence = 0.3;
  CHECK(contains(text(report), "Fix: A guess: Normalise"));
}

TEST_CASE("loss and gradient norm are drawn, with the step marked at which it went wrong", "[report]") {
  const std::string shown = text(sample::unhealthy());
  const std::size_t plots = shown.find("\nOver the run:\n");
  REQUIRE(plots != std::string::npos);
  CHECK(shown.find("Fix: ") < plots);
  CHECK(contains(shown, "\n  loss, logarithmic\n"));
  CHECK(contains(shown, "\n  global gradient norm, logarithmic"));
  CHECK(contains(shown, "\n             ▲ unnormalized-input since step 0\n"));
  CHECK_FALSE(contains(text(sample::healthy()), "▲"));
  CHECK(contains(text(sample::adversarial()), "\nOver the run, D:\n"));
  CHECK_FALSE(contains(text(sample::empty()), "Over the run"));
}

TEST_CASE("ASCII is all there is where that is asked for", "[report]") {
  TerminalOptions options;
  options.charset = Charset::kAscii;
  for (const Report& report : {sample::unhealthy(), sample::adversarial(), sample::suppressed(),
                               sample::hostile("\xcf\x83 \xe2\x89\xa5 \xf0\x9f\x98\x80 \xff")}) {
    const std::string shown = text(report, options);
    for (const char c : shown) REQUIRE((c == '\n' || (c >= ' ' && c < 0x7f)));
  }
  CHECK(contains(text(sample::unhealthy(), options), "over the median layer's: 41.2 >= 30"));
  CHECK(contains(text(sample::unhealthy(), options), "             ^ unnormalized-input since step 0"));
  CHECK(contains(text(sample::hostile("\xcf\x83 \xe4\xb8\xad"), options), "sigma \\u{4e2d}"));
}

TEST_CASE("what is suppressed is listed with its reason, what has expired is told", "[report]") {
  const std::string shown = text(sample::suppressed());
  CHECK(contains(shown, "Suppressed: plateaued-loss, whole run: plateaus on purpose | see #12\n"));
  CHECK(contains(shown, "Expired: the suppression of dead-units (pruned), on 2020-01-31\n"));
}

TEST_CASE("a rule's explanation holds everything that is documented", "[report]") {
  RuleInfo rule;
  rule.id = "dead-units";
  rule.title = "Units that never fire";
  rule.meaning = "The meaning.";
  rule.method = "The method.";
  rule.limits = "The limits.";
  rule.options = {{"share", 0.9, "Share of dead units.", "rules.md"}};
  rule.references = {"Lu et al. 2019"};
  rule.effects = {{"plateaued-loss", Reach::kAnywhere}};
  rule.essential = true;
  std::ostringstream out;
  write_explanation(out, rule);
  for (const char* part :
       {"dead-units", "Units that never fire", "The meaning.", "The method.", "The limits.", "share = 0.9",
        "Share of dead units.", "rules.md", "Lu et al. 2019", "plateaued-loss", "Essential"})
    CHECK(contains(out.str(), part));

  Rule listed;
  listed.info = rule;
  std::ostringstream list, json;
  write_rule_list(list, {listed});
  CHECK(contains(list.str(), "dead-units  Units that never fire *\n"));
  write_rules_json(json, {listed});
  CHECK(contains(json.str(), "\"default\": 0.9"));
}

}  // namespace gradhealth
