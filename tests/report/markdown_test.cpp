#include <sstream>
#include <string>

#include <gradhealth/report.h>

#include "report/escape.h"
#include "report/sample.h"
#include "support/catch.h"

namespace gradhealth {

namespace {

std::string page(const std::vector<Report>& reports, std::size_t max_bytes = 1'000'000) {
  std::ostringstream out;
  write_markdown(out, reports, max_bytes);
  return out.str();
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a Markdown summary has verdict, evidence, fix as code and consequences", "[report]") {
  const std::string text = page({sample::unhealthy()});
  for (const char* part :
       {"## gradhealth: unhealthy, `raw.h5`\n",
        "7 of 8 rules evaluated over 600 recorded steps. **2 errors, 1 warning, 0 notes from 1 root cause.**",
        "### error: Input is not normalised (`unnormalized-input`)\n",
        "**`input of conv1`**, since step 0, until step 599", "| RMS of the input | `channel 0` | 115.9 | &gt; 10 |\n",
        "**Fix:** Normalise the input", "```cpp\nauto dataset =", "<details><summary>Led to 2 more findings</summary>",
        "- error: Units are dead (`dead-units`), `conv1:relu`, since step 4", "  - warning: ", "Passed (4)",
        "- `jacobian-growth`: needs a closure: call monitor.replay()"}) {
    CAPTURE(text, part);
    CHECK(contains(text, part));
  }
  CHECK(contains(page({sample::suppressed()}), "- Suppressed: `plateaued-loss`, whole run: plateaus on purpose"));
  CHECK(contains(page({sample::suppressed()}), "- Expired on 2020-01-31: the suppression of `dead-units` (pruned)"));
  CHECK(contains(page({sample::empty()}), "Undecided because no step was recorded."));
  CHECK(contains(page({sample::healthy(), sample::empty()}), "# gradhealth: undecided, 2 runs\n"));
}

TEST_CASE("a Markdown summary stays within its size, and says what is missing", "[report]") {
  const std::string whole = page({sample::many(5000, Severity::kError)}, 100'000'000);
  CHECK(whole.size() > 1'000'000);
  CHECK_FALSE(contains(whole, "Left out"));
  for (const std::size_t limit : {1'000u, 5'000u, 1'000'000u}) {
    const std::string text = page({sample::many(5000, Severity::kError)}, limit);
    CHECK(text.size() <= limit);
    CHECK(contains(text, "## gradhealth: unhealthy"));
    CHECK(contains(text.substr(text.rfind("\n**")), "Left out: "));
    CHECK(contains(text, "layer 0"));
  }
  // Of a finding that does not fit, at least what and where.
  Report report = sample::unhealthy();
  report.models[0].diagnosis.roots[0].finding.recommendations[0].code = std::string(100'000, '`');
  const std::string text = page({report}, 10'000);
  CHECK(text.size() <= 10'000);
  CHECK(contains(text, "**`input of conv1`**"));
}

TEST_CASE("nothing in running text of Markdown is markup, a mention or a link", "[report]") {
  CHECK(markdown("a_b*c [x](y) <b> & `z` | ~") == "a\\_b\\*c \\[x\\](y) &lt;b&gt; &amp; \\`z\\` \\| \\~");
  CHECK(markdown("@me #12 http://x www.x GH-1 :+1: a: b") ==
        "@<!-- -->me #<!-- -->12 http:<!-- -->//x www<!-- -->.x GH-<!-- -->1 :<!-- -->+1: a: b");
  CHECK(markdown("# x") == "\\#<!-- --> x");
  CHECK(markdown("- x - y") == "\\- x - y");
  CHECK(markdown("12. x") == "12\\. x");
  CHECK(markdown("12 x.") == "12 x.");
  CHECK(markdown("===") == "\\===");
  CHECK(markdown("\tx") == "x");
  CHECK(markdown("a\nb") == "a\\\\nb");
  CHECK(markdown_code("a`b") == "``a`b``");
  CHECK(markdown_code("`") == "`` ` ``");
  CHECK(markdown_code("").empty());
}

TEST_CASE("a text is cut between characters", "[report]") {
  CHECK(shortened("σσσ", 6) == "σσσ");
  CHECK(shortened("σσσσ", 6) == "σ…");
  CHECK(shortened("abcdef", 5) == "ab…");
}

}  // namespace gradhealth
