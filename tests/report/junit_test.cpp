#include <sstream>
#include <string>

#include <pugixml.hpp>

#include <gradhealth/report.h>

#include "report/sample.h"
#include "support/catch.h"

namespace gradhealth {

namespace {

pugi::xml_document parsed(const std::vector<Report>& reports, const GateOptions& options = {}) {
  std::ostringstream out;
  write_junit(out, reports, options);
  pugi::xml_document document;
  REQUIRE(document.load_string(out.str().c_str()));
  return document;
}

pugi::xml_node test_case(const pugi::xml_node& suite, const char* name) {
  return suite.find_child_by_attribute("testcase", "name", name);
}

}  // namespace

TEST_CASE("every rule is a JUnit test case", "[report]") {
  const pugi::xml_document document = parsed({sample::unhealthy()});
  const pugi::xml_node suite = document.child("testsuites").child("testsuite");
  CHECK(std::string(suite.attribute("name").value()) == "raw.h5");
  CHECK(suite.attribute("tests").as_int() == 8);
  CHECK(suite.attribute("failures").as_int() == 2);
  CHECK(suite.attribute("skipped").as_int() == 1);
  CHECK(suite.attribute("errors").as_int() == 0);

  const pugi::xml_node failure = test_case(suite, "unnormalized-input").child("failure");
  CHECK(std::string(failure.attribute("message").value()).find("mean 72.94") != std::string::npos);
  CHECK(std::string(failure.child_value()).find("RMS of the input of channel 0: 115.9 > 10") != std::string::npos);
  CHECK(std::string(failure.child_value()).find("Normalize<>(72.94, 90.02)") != std::string::npos);
  CHECK(test_case(suite, "vanishing-gradient").first_child().empty());
  CHECK(test_case(suite, "jacobian-growth").child("skipped").attribute("message"));
}

TEST_CASE("findings below the severity asked for pass with their text", "[report]") {
  const pugi::xml_document lenient = parsed({sample::unhealthy()});
  const pugi::xml_node warning = test_case(lenient.child("testsuites").child("testsuite"), "plateaued-loss");
  CHECK(warning.child("failure").empty());
  CHECK(std::string(warning.child("system-out").child_value()).find("2.303") != std::string::npos);

  const pugi::xml_document strict = parsed({sample::unhealthy()}, {Severity::kWarning, false, false});
  CHECK(test_case(strict.child("testsuites").child("testsuite"), "plateaued-loss").child("failure"));
}

TEST_CASE("a run that cannot be judged is an error in JUnit, too", "[report]") {
  const pugi::xml_document document = parsed({sample::empty()});
  const pugi::xml_node suite = document.child("testsuites").child("testsuite");
  CHECK(suite.attribute("errors").as_int() == 1);
  CHECK(std::string(test_case(suite, "verdict").child("error").attribute("message").value()) ==
        "undecided: no step was recorded");
  const pugi::xml_document allowed = parsed({sample::empty()}, {Severity::kError, true, false});
  CHECK(allowed.child("testsuites").child("testsuite").attribute("errors").as_int() == 0);
  const pugi::xml_document nothing = parsed({Report{}});
  CHECK(nothing.child("testsuites").child("testsuite").attribute("errors").as_int() == 1);
}

TEST_CASE("every model is a test suite", "[report]") {
  const pugi::xml_document document = parsed({sample::adversarial(), sample::healthy()});
  std::string names;
  for (const pugi::xml_node suite : document.child("testsuites"))
    names += std::string(suite.attribute("name").value()) + ";";
  CHECK(names == "run/: D;run/: G;fixed.h5;");
}

TEST_CASE("a rule of which everything is suppressed is skipped with the reason, and counts as evaluated", "[report]") {
  const pugi::xml_document document = parsed({sample::suppressed()});
  const pugi::xml_node suite = document.child("testsuites").child("testsuite");
  CHECK(suite.attribute("tests").as_int() == 8);
  CHECK(suite.attribute("skipped").as_int() == 2);
  CHECK(std::string(test_case(suite, "plateaued-loss").child("skipped").attribute("message").value()) ==
        "suppressed: plateaus on purpose | see #12");
  CHECK(coverage(sample::suppressed()) == coverage(sample::unhealthy()));
  // The rule's other findings come first.
  Report both = sample::suppressed();
  both.models[0].diagnosis.suppressed[0].finding.rule = "dead-units";
  const pugi::xml_document failing = parsed({both});
  CHECK(test_case(failing.child("testsuites").child("testsuite"), "dead-units").child("failure"));
  CHECK(failing.child("testsuites").child("testsuite").attribute("tests").as_int() == 7);
}

TEST_CASE("with several runs the class names the run, since GitLab and Jenkins do not look at suites", "[report]") {
  const auto first_class = [](const pugi::xml_node& suite) {
    return std::string(suite.child("testcase").attribute("classname").value());
  };
  const pugi::xml_document one = parsed({sample::adversarial()});
  CHECK(first_class(one.child("testsuites").first_child()) == "gradhealth.D");
  const pugi::xml_document two = parsed({sample::unhealthy(), sample::healthy()});
  CHECK(first_class(two.child("testsuites").first_child()) == "gradhealth.raw_h5");
  CHECK(first_class(two.child("testsuites").last_child()) == "gradhealth.fixed_h5");
}

TEST_CASE("JUnit stays well-formed with hostile names", "[report]") {
  std::string every_byte;
  for (int c = 0; c < 256; ++c) every_byte += static_cast<char>(c);
  for (const std::string& name : {every_byte, std::string("]]></failure><failure>"), std::string("\xef\xbf\xbf")}) {
    std::ostringstream out;
    write_junit(out, {sample::hostile(name)});
    for (const char c : out.str()) REQUIRE((c == '\n' || static_cast<unsigned char>(c) >= ' '));
    CHECK(parsed({sample::hostile(name)}).child("testsuites").child("testsuite").attribute("tests").as_int() == 3);
  }
}

}  // namespace gradhealth
