#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "support/catch.h"
#include "tools/runs.h"
#include "tools/shell.h"

namespace fs = std::filesystem;

namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a report goes to the terminal without colour when it is not one", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  const Ran ran = folder.gradhealth("report run.h5");
  CHECK(ran.exit_code == 0);
  CHECK(ran.err.empty());
  CHECK(ran.out.rfind("gradhealth: UNHEALTHY  run.h5  (", 0) == 0);
  CHECK(contains(ran.out, "over 100 recorded steps"));
  CHECK_FALSE(contains(ran.out, "\x1b"));
  CHECK(contains(folder.gradhealth("report run.h5 --color always").out, "\x1b["));
}

TEST_CASE("the format follows the suffix unless it is given", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  CHECK(folder.gradhealth("report run.h5 -o a.html").exit_code == 0);
  CHECK(contains(read(folder / "a.html"), "<!DOCTYPE html>"));
  CHECK(folder.gradhealth("report run.h5 -o a.json").exit_code == 0);
  CHECK(nlohmann::json::parse(read(folder / "a.json"))["verdict"] == "unhealthy");
  CHECK(folder.gradhealth("report run.h5 -o a.txt --color auto").exit_code == 0);
  CHECK(contains(read(folder / "a.txt"), "gradhealth: UNHEALTHY"));
  CHECK(folder.gradhealth("report run.h5 -o page --format html").exit_code == 0);
  CHECK(contains(read(folder / "page"), "<!DOCTYPE html>"));
  CHECK(nlohmann::json::parse(folder.gradhealth("report run.h5 --format json").out)["steps"] == 100);
}

TEST_CASE("the same run gives the same bytes", "[tools]") {
  const Folder folder;
  runs::broken(folder / "run.h5");
  for (const char* format : {"terminal", "json", "html", "markdown"}) {
    const std::string arguments = std::string("report run.h5 --format ") + format;
    CHECK(folder.gradhealth(arguments).out == folder.gradhealth(arguments).out);
  }
  for (const char* format : {"--sarif -", "--gitlab -", "--junit -", "--github"}) {
    const std::string arguments = std::string("check run.h5 ") + format;
    const std::string once = folder.gradhealth(arguments).out;
    CHECK_FALSE(once.empty());
    CHECK(once == folder.gradhealth(arguments).out);
  }
}

TEST_CASE("a directory of run files is one run with several models", "[tools]") {
  const Folder folder;
  fs::create_directory(folder / "gan");
  runs::healthy(folder / "gan/D.h5", 300, "D");
  runs::broken(folder / "gan/G.h5", "G");
  const Ran ran = folder.gradhealth("report gan --format json");
  REQUIRE(ran.exit_code == 0);
  const nlohmann::json j = nlohmann::json::parse(ran.out);
  CHECK(j["models"].size() == 2);
  CHECK(j["verdict"] == "unhealthy");
  CHECK(j["diagnoses"][0]["subject"].get<std::string>().rfind("G", 0) == 0);
}

TEST_CASE("what cannot be read is named in one line", "[tools]") {
  const Folder folder;
  write(folder / "empty.h5", "");
  write(folder / "text.h5", "this is no HDF5 file\n");
  runs::foreign(folder / "foreign.h5");
  fs::create_directory(folder / "none");
  for (const double share : {0.1, 0.5, 0.9}) {
    const fs::path path = folder / ("cut" + std::to_string(static_cast<int>(10 * share)) + ".h5");
    runs::healthy(path);
    runs::truncate(path, share);
  }
  for (const std::string name :
       {"missing.h5", "empty.h5", "text.h5", "foreign.h5", "none", "cut1.h5", "cut5.h5", "cut9.h5"}) {
    for (const char* command : {"report ", "check "}) {
      const Ran ran = folder.gradhealth(command + name);
      CAPTURE(command, name, ran.err, ran.out, ran.exit_code);
      CHECK(refused(ran));
      CHECK(contains(ran.err, name));
    }
  }
}

TEST_CASE("output that cannot be written is said in one line, and leaves nothing behind", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "run.h5");
  fs::create_directory(folder / "taken.html");
  for (const char* output : {"missing/report.html", "taken.html", "/dev/full --format html"}) {
    const Ran ran = folder.gradhealth(std::string("report run.h5 -o ") + output);
    CAPTURE(output, ran.err);
    CHECK(refused(ran));
  }
  std::size_t files = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder / "."))
    files += entry.is_regular_file() ? 1 : 0;
  CHECK(files == 1);
}

TEST_CASE("a report never replaces a run", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "run.h5");
  const std::string before = read(folder / "run.h5");
  CHECK(refused(folder.gradhealth("report run.h5 -o run.h5 --format html")));
  CHECK(refused(folder.gradhealth("check run.h5 --json run.h5")));
  CHECK(read(folder / "run.h5") == before);
}

TEST_CASE("output through a link keeps the link, and a pipe is written to", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "run.h5");
  write(folder / "real.json", "{}");
  fs::create_symlink("real.json", folder / "link.json");
  CHECK(folder.gradhealth("report run.h5 -o link.json").exit_code == 0);
  CHECK(fs::is_symlink(folder / "link.json"));
  CHECK(contains(read(folder / "real.json"), "\"verdict\""));
  CHECK(folder.gradhealth("report run.h5 -o /dev/null --format json").exit_code == 0);
  CHECK(contains(folder.gradhealth("report run.h5 -o /dev/stdout --format json").out, "\"verdict\""));
}

TEST_CASE("a wrong configuration is refused with its place", "[tools]") {
  const Folder folder;
  runs::healthy(folder / "run.h5");
  write(folder / "bad.toml", "[rules.no-such-rule]\nenabled = false\n");
  write(folder / "syntax.toml", "[rules\n");
  for (const char* config : {"bad.toml", "syntax.toml", "missing.toml"}) {
    for (const char* command : {"report", "check"}) {
      const Ran ran = folder.gradhealth(std::string(command) + " run.h5 --config " + config);
      CAPTURE(ran.err);
      CHECK(refused(ran));
      CHECK(contains(ran.err, config));
    }
  }
}

TEST_CASE("a run that goes on in a further file is one model, and steps made again count once", "[tools]") {
  const Folder folder;
  fs::create_directory(folder / "run");
  runs::healthy(folder / "run/run.h5", 300, "", runs::Ending::kUnfinished);  // Killed: there is a checkpoint at 200.
  runs::broken_continuation(folder / "run/run-2.h5", "run.h5", 200);
  const nlohmann::json j = nlohmann::json::parse(folder.gradhealth("report run --format json").out);
  REQUIRE(j["models"].size() == 1);
  CHECK(j["steps"] == 300);
  CHECK(j["finished"] == true);
  REQUIRE(j["diagnoses"].size() >= 1);
  CHECK(j["diagnoses"][0]["subject"].get<std::string>().find("fc1.weight") != std::string::npos);
  CHECK(j["diagnoses"][0]["first_step"] == 240);
  // By itself, and beside a file that it does not name, each is a model.
  CHECK(nlohmann::json::parse(folder.gradhealth("report run/run-2.h5 --format json").out)["steps"] == 100);
  runs::broken_continuation(folder / "run/other.h5", "missing.h5", 200);
  runs::broken_continuation(folder / "run/itself.h5", "itself.h5", 200);
  CHECK(nlohmann::json::parse(folder.gradhealth("report run --format json").out)["models"].size() == 3);
}
