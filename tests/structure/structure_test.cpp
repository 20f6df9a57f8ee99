#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include <gradhealth/rules.h>

#include "structure/includes.h"
#include "support/catch.h"

using gradhealth::test::forbidden_includes;

namespace {

const std::filesystem::path kTop = GRADHEALTH_SOURCE_DIR;

std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("every part includes only what the architecture allows it", "[structure]") {
  std::vector<std::string> problems;
  std::size_t files = 0;
  for (const char* folder : {"include", "lib", "hooks", "tools"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(kTop / folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cpp") continue;
      ++files;
      const std::string path = std::filesystem::relative(entry.path(), kTop).generic_string();
      for (std::string& problem : forbidden_includes(path, content_of(entry.path()))) problems.push_back(std::move(problem));
    }
  }
  CHECK(files > 50);
  CHECK(problems == std::vector<std::string>{});
}

TEST_CASE("the scan of includes sees what is forbidden", "[structure]") {
  CHECK(forbidden_includes("lib/rules/x.cpp", "#include <torch/torch.h>\n").size() == 1);
  CHECK(forbidden_includes("lib/rules/x.cpp", "#  include <hdf5.h>\n").size() == 1);
  CHECK(forbidden_includes("lib/rules/x.cpp", "#include <gradhealth/run_file.h>\n").size() == 1);
  CHECK(forbidden_includes("lib/rules/x.cpp", "#include \"diagnosis/links.h\"\n").size() == 1);
  CHECK(forbidden_includes("lib/stats/x.h", "#include <gradhealth/run.h>\n").size() == 1);
  CHECK(forbidden_includes("include/gradhealth/run.h", "#include <ATen/ATen.h>\n").size() == 1);
  CHECK(forbidden_includes("tools/check.cpp", "#include \"rules/rule_support.h\"\n").size() == 1);
  CHECK(forbidden_includes("lib/rules/x.cpp", "#include <iostream>\n").size() == 1);
  CHECK(forbidden_includes("lib/rules/x.cpp",
                           "#include <vector>\n#include <fmt/format.h>\n#include <gradhealth/run.h>\n"
                           "#include \"rules/rule_support.h\"\n#include \"stats/window.h\"\n")
            .empty());
  CHECK(forbidden_includes("tools/demo_training.cpp", "#include <torch/torch.h>\n").empty());
  CHECK(forbidden_includes("hooks/monitor.cpp", "#include <torch/nn/module.h>\n").empty());
}

TEST_CASE("the top level holds what belongs there", "[structure]") {
  const std::set<std::string> expected{"lib", "include", "hooks", "tools", "tests", "CMakeLists.txt", "README.md",
                                       "LICENSE", "CHANGELOG.md", "CMakePresets.json"};
  std::set<std::string> seen;
  for (const auto& entry : std::filesystem::directory_iterator(kTop)) {
    const std::string name = entry.path().filename().string();
    if (name.front() != '.' && name.substr(0, 5) != "build" && name != "gradhealth-demo") seen.insert(name);
  }
  CHECK(seen == expected);
}

TEST_CASE("the README's table of rules is the catalogue", "[structure]") {
  const std::string readme = content_of(kTop / "README.md");
  const auto begin = readme.find("<!-- rules -->");
  const auto end = readme.find("<!-- /rules -->");
  REQUIRE(begin != std::string::npos);
  REQUIRE(end != std::string::npos);
  const std::string table = readme.substr(begin, end - begin);
  for (const gradhealth::Rule& rule : gradhealth::catalogue()) {
    const std::string row = "| `" + rule.info.id + "` | " + rule.info.title + " |";
    CAPTURE(row);
    CHECK(table.find(row) != std::string::npos);
  }
  CHECK(static_cast<std::size_t>(std::count(table.begin(), table.end(), '\n')) == gradhealth::catalogue().size() + 3);
}
