#include <string>

#include <nlohmann/json.hpp>

#include "support/catch.h"
#include "tools/runs.h"
#include "tools/shell.h"

namespace fs = std::filesystem;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a crashed run is recovered, and judged as before", "[tools]") {
  const Folder folder;
  CHECK(folder.shell("'" GRADHEALTH_LIVE_TRAINER "' run.h5 80 0 die 40").exit_code == 9);
  const Ran ran = folder.gradhealth("recover run.h5 -o fixed.h5");
  CHECK(ran.exit_code == 0);
  CHECK(ran.err.empty());
  CHECK(ran.out.rfind("fixed.h5: 80 steps and ", 0) == 0);
  CHECK(contains(ran.out, " of run.h5, which was left unfinished, "));
  CHECK(fs::file_size(folder / "fixed.h5") < fs::file_size(folder / "run.h5"));
  auto before = nlohmann::json::parse(folder.gradhealth("report run.h5 --format json").out);
  auto after = nlohmann::json::parse(folder.gradhealth("report fixed.h5 --format json").out);
  CHECK(before["verdict"] == "unhealthy");
  before["run"] = after["run"] = "";
  CHECK(before == after);
}

TEST_CASE("a run that is still being written is recovered up to its last commit", "[tools]") {
  const Folder folder;
  const Ran ran = folder.shell(
      "'" GRADHEALTH_LIVE_TRAINER "' run.h5 60 0 stay > started & trainer=$!; "
      "for i in $(seq 200); do grep -q written started && break; sleep 0.05; done; "
      "\"$gradhealth\" recover run.h5 -o fixed.h5; code=$?; kill -KILL $trainer; exit $code");
  CAPTURE(ran.out, ran.err);
  CHECK(ran.exit_code == 0);
  CHECK(contains(ran.out, "fixed.h5: 60 steps"));
  CHECK(folder.gradhealth("check fixed.h5 --allow-incomplete --quiet").exit_code == 0);
}

TEST_CASE("a directory is recovered into a directory", "[tools]") {
  const Folder folder;
  fs::create_directory(folder / "gan");
  runs::healthy(folder / "gan/D.h5", 50, "D");
  runs::healthy(folder / "gan/G.h5", 50, "G", runs::Ending::kUnfinished);
  const Ran ran = folder.gradhealth("recover gan -o fixed");
  CHECK(ran.exit_code == 0);
  CHECK(contains(ran.out, "D.h5, which was finished"));
  CHECK(contains(ran.out, "G.h5, which was left unfinished"));
  CHECK(nlohmann::json::parse(folder.gradhealth("report fixed --format json").out)["models"].size() == 2);

  // Again: nothing is overwritten, and nothing is begun.
  fs::remove(folder / "fixed/D.h5");
  CHECK(refused(folder.gradhealth("recover gan -o fixed")));
  CHECK_FALSE(fs::exists(folder / "fixed/D.h5"));
  // One file into a directory, under its own name.
  CHECK(folder.gradhealth("recover gan/D.h5 -o fixed").exit_code == 0);
  CHECK(fs::exists(folder / "fixed/D.h5"));
  // A foreign file among them is named, and the rest is recovered.
  runs::foreign(folder / "gan/foreign.h5");
  const Ran partly = folder.gradhealth("recover gan -o more");
  CHECK(partly.exit_code == 2);
  CHECK(contains(partly.err, "foreign.h5"));
  CHECK(fs::exists(folder / "more/G.h5"));
  CHECK_FALSE(fs::exists(folder / "more/foreign.h5"));
}

TEST_CASE("what was lost of a damaged run is said", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "run.h5", 3000, "", runs::Ending::kUnfinished);
  runs::truncate(folder / "run.h5", 0.97);
  CHECK(refused(folder.gradhealth("report run.h5")));
  const Ran ran = folder.gradhealth("recover run.h5 -o fixed.h5");
  CAPTURE(ran.out, ran.err);
  CHECK(ran.exit_code == 1);
  CHECK(contains(ran.out, "  lost: "));
  CHECK(contains(ran.out, "fixed.h5: 3000 steps"));
  CHECK(folder.gradhealth("report fixed.h5").exit_code == 0);
}

TEST_CASE("wrong use of recover leaves nothing behind", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "run.h5", 10);
  runs::foreign(folder / "foreign.h5");
  CHECK(refused(folder.gradhealth("recover run.h5 -o run.h5")));
  CHECK(refused(folder.gradhealth("recover run.h5")));
  CHECK(refused(folder.gradhealth("recover missing.h5 -o new.h5")));
  CHECK(refused(folder.gradhealth("recover foreign.h5 -o new.h5")));
  CHECK(refused(folder.gradhealth("recover run.h5 -o /dev/full")));
  CHECK(folder.shell("ls -A").out == ".err\n.out\nforeign.h5\nrun.h5\n");
}
