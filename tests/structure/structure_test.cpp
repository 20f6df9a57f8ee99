#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gradhealth/report.h>
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
      for (std::string& problem : forbidden_includes(path, content_of(entry.path())))
        problems.push_back(std::move(problem));
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
  const std::set<std::string> expected{"lib",          "include",          "hooks",     "tools",
                                       "tests",        "CMakeLists.txt",   "README.md", "LICENSE",
                                       "CHANGELOG.md", "CMakePresets.json"};
  std::set<std::string> seen;
  for (const auto& entry : std::filesystem::directory_iterator(kTop)) {
    const std::string name = entry.path().filename().string();
    if (name.front() != '.' && name.substr(0, 5) != "build" && name != "gradhealth-demo") seen.insert(name);
  }
  CHECK(seen == expected);
}

TEST_CASE("the catalogue's page is what the catalogue says", "[structure]") {
  std::ostringstream page;
  gradhealth::write_rules_markdown(page, gradhealth::catalogue());
  // To renew it: gradhealth rules --markdown > lib/rules/CATALOGUE.md
  CHECK(content_of(kTop / "lib/rules/CATALOGUE.md") == page.str());
  CHECK(content_of(kTop / "README.md").find(std::to_string(gradhealth::catalogue().size()) + " rules") !=
        std::string::npos);
}
