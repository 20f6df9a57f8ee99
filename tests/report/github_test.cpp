#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include <gradhealth/report.h>

#include "report/sample.h"
#include "support/catch.h"

namespace gradhealth {

namespace {

std::vector<std::string> lines(const std::vector<Report>& reports, const CiOptions& options = {}) {
  std::stringstream text;
  write_github(text, reports, options);
  std::vector<std::string> all;
  for (std::string line; std::getline(text, line);) all.push_back(line);
  return all;
}

bool begins(const std::string& text, const std::string& start) { return text.rfind(start, 0) == 0; }
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("annotations say what, where, why and the fix, errors first", "[report]") {
  CiOptions options;
  options.source = "src/train.cpp";
  options.line = 12;
  const std::vector<std::string> all = lines({sample::unhealthy()}, options);
  REQUIRE(all.size() == 3);
  CHECK(begins(all[0],
               "::error title=gradhealth%3A Input is not normalised [unnormalized-input],file=src/train.cpp,"
               "line=12::raw.h5: input of conv1, since step 0, until step 599%0AThe input has mean 72.94"));
  CHECK(contains(all[0], "%0AFix: Normalise the input"));
  CHECK(contains(all[1], "%0ACaused by: Input is not normalised [unnormalized-input]"));
  CHECK(begins(all[2], "::warning "));
}

TEST_CASE("without a source an annotation has no place", "[report]") {
  CHECK(begins(lines({sample::unhealthy()})[0],
               "::error title=gradhealth%3A Input is not normalised [unnormalized-input]::raw.h5"));
}

TEST_CASE("a step has ten annotations of a kind, and the tenth says how many more there are", "[report]") {
  CHECK(lines({sample::many(10, Severity::kInfo)}).size() == 10);
  CHECK_FALSE(contains(lines({sample::many(10, Severity::kInfo)}).back(), "more notice"));
  const std::vector<std::string> all =
      lines({sample::many(11, Severity::kWarning), sample::many(12, Severity::kError)});
  const auto of = [&](const char* kind) {
    return std::count_if(all.begin(), all.end(), [&](const std::string& line) { return begins(line, kind); });
  };
  CHECK(of("::error ") == 10);
  CHECK(of("::warning ") == 10);
  CHECK(contains(all[9], "%0A2 more errors are not annotated"));
  CHECK(contains(all[19], "%0A1 more warnings are not annotated"));
}

TEST_CASE("an annotation is not longer than the runner takes, and the number left out is never cut", "[report]") {
  Report report = sample::many(11, Severity::kError);
  for (DiagnosedFinding& root : report.models[0].diagnosis.roots) root.finding.message = std::string(10'000, 'x');
  const std::vector<std::string> all = lines({report});
  for (const std::string& line : all) CHECK(line.size() < 4096);
  CHECK(contains(all.back(), "1 more errors are not annotated"));
}

TEST_CASE("a run without a verdict is an error, a notice where that is allowed", "[report]") {
  CHECK(begins(lines({sample::empty()})[0], "::error title=gradhealth%3A Run is undecided::empty.h5: undecided "));
  CHECK(begins(lines({Report{}})[0], "::error "));
  CiOptions lenient;
  lenient.gate.allow_undecided = lenient.gate.allow_incomplete = true;
  CHECK(begins(lines({sample::empty()}, lenient)[0], "::notice "));
  CHECK(lines({sample::healthy()}).empty());
}

TEST_CASE("a name can neither end an annotation nor begin a command", "[report]") {
  CiOptions options;
  options.source = "a,b:c%.cpp";
  const std::vector<std::string> all = lines({sample::hostile("x\n::add-mask::y\r%0A,line=3::z")}, options);
  REQUIRE(all.size() == 2);
  for (const std::string& line : all) {
    CHECK(begins(line, "::error title="));
    CHECK(contains(line, ",file=a%2Cb%3Ac%25.cpp,line=1::"));
    CHECK(contains(line, "%250A,line=3"));
    const std::size_t data = line.find("::", 2);
    CHECK(std::count(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(data), ',') == 2);
  }
}

TEST_CASE("text in the log of GitHub Actions runs no command", "[report]") {
  std::ostringstream out;
  write_github_text(out, "a\n::gradhealth-end::\n::error::x");
  CHECK(out.str() == "::stop-commands::gradhealth-end-2\na\n::gradhealth-end::\n::error::x\n::gradhealth-end-2::\n");
  std::ostringstream nothing;
  write_github_text(nothing, "");
  CHECK(nothing.str() == "::stop-commands::gradhealth-end\n::gradhealth-end::\n");
}

}  // namespace gradhealth
