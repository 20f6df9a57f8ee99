#include <string>

#include <nlohmann/json.hpp>

#include "support/catch.h"
#include "tools/runs.h"
#include "tools/shell.h"

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct Runs {
  Folder folder;
  Runs() {
    runs::healthy(folder / "good.h5");
    runs::broken(folder / "bad.h5");
  }
};

}  // namespace

TEST_CASE("diff tells what a fix has resolved", "[tools]") {
  const Runs runs;
  const Ran ran = runs.folder.gradhealth("diff bad.h5 good.h5");
  CAPTURE(ran.out, ran.err);
  CHECK(ran.exit_code == 0);
  CHECK(ran.err.empty());
  CHECK(contains(ran.out, "unhealthy → healthy"));
  CHECK(contains(ran.out, "[nonfinite-loss]"));
  CHECK(contains(ran.out, "Remaining (0)"));
  const auto json = nlohmann::json::parse(runs.folder.gradhealth("diff good.h5 bad.h5 --format json").out);
  CHECK(json["models"][0]["resolved"].empty());
  CHECK_FALSE(json["models"][0]["new"].empty());
}

TEST_CASE("diff writes a page and refuses what it cannot compare", "[tools]") {
  const Runs runs;
  CHECK(runs.folder.gradhealth("diff bad.h5 good.h5 -o diff.html").exit_code == 0);
  CHECK(contains(read(runs.folder / "diff.html"), "<svg"));
  CHECK(refused(runs.folder.gradhealth("diff bad.h5")));
  CHECK(refused(runs.folder.gradhealth("diff bad.h5 missing.h5")));
  CHECK(refused(runs.folder.gradhealth("diff bad.h5 good.h5 -o diff.md")));
}

TEST_CASE("against a baseline only what is new or worse counts", "[tools]") {
  const Runs runs;
  CHECK(runs.folder.gradhealth("check bad.h5").exit_code == 1);
  const Ran known = runs.folder.gradhealth("check bad.h5 --baseline bad.h5");
  CAPTURE(known.out, known.err);
  CHECK(known.exit_code == 0);
  CHECK(contains(known.out, "also in the baseline bad.h5"));
  CHECK(runs.folder.gradhealth("check bad.h5 --baseline good.h5").exit_code == 1);
  CHECK(runs.folder.gradhealth("check good.h5 --baseline good.h5 --fail-on warning").exit_code == 0);
  const auto json = nlohmann::json::parse(runs.folder.gradhealth("check bad.h5 --baseline bad.h5 --json -").out);
  CHECK(json["verdict"] == "healthy");
}

TEST_CASE("a baseline that is missing or tells too little is refused", "[tools]") {
  const Runs runs;
  runs::healthy(runs.folder / "short.h5", 3);
  CHECK(refused(runs.folder.gradhealth("check good.h5 --baseline missing.h5")));
  CHECK(refused(runs.folder.gradhealth("check good.h5 --baseline short.h5")));
  CHECK(refused(runs.folder.gradhealth("check good.h5 --baseline good.h5 --tolerance-time 0.5")));
}
