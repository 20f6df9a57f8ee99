#include "structure/includes.h"

#include <algorithm>
#include <map>
#include <regex>
#include <set>

namespace gradhealth::test {
namespace {

using Names = std::set<std::string, std::less<>>;

/// The architecture: what each part may include of the others. Public headers count as the part they declare.
const std::map<std::string, Names, std::less<>> kMayInclude{
    {"lib/stats", {}},
    {"lib/run", {}},
    {"lib/ranks", {"run"}},
    {"lib/run_file", {"run"}},
    {"lib/rules", {"run", "stats"}},
    {"lib/diagnosis", {"rules", "run", "stats"}},
    {"lib/config", {"diagnosis", "rules", "run"}},
    {"lib/export", {"report", "run"}},
    {"lib/report", {"diagnosis", "rules", "run", "stats"}},
    {"lib/comparison", {"diagnosis", "report", "rules", "run", "stats"}},
    {"hooks", {"diagnosis", "ranks", "rules", "run", "run_file"}},
    {"tools", {"comparison", "config", "diagnosis", "export", "ranks", "report", "rules", "run", "run_file"}},
    {"tools/examples", {"hooks"}},
    {"tools/demo", {"diagnosis", "hooks", "report", "rules", "run", "run_file"}},
};

/// Every part may use these of the project.
const Names kCommon{"errors", "version"};

/// Libraries that one part keeps to itself, by the start of what is included.
struct Guarded {
  const char* pattern;
  Names parts;
};
const std::vector<Guarded> kGuarded{
    {"^(torch|ATen|c10|caffe2)/", {"hooks", "tools/demo", "tools/examples"}},
    {"^(hdf5|H5|hdf5_hl)", {"lib/run_file"}},
    {"^toml", {"lib/config"}},
    {"^pugixml", {"lib/report"}},
    {"^nlohmann/", {"lib/report", "tools"}},
    {"^CLI/", {"tools", "tools/demo"}},
    {"^boost/", {"lib/export", "lib/stats"}},
    {"^(iostream|fstream)$", {"hooks", "lib/config", "lib/run_file", "tools", "tools/demo", "tools/examples"}},
};

}  // namespace

std::string part_of(std::string_view path) {
  if (path.substr(0, 10) == "tools/demo") return "tools/demo";
  if (path.substr(0, 14) == "tools/examples") return "tools/examples";
  const auto first = path.find('/');
  if (path.substr(0, 4) == "lib/") return std::string(path.substr(0, path.find('/', 4)));
  const std::string_view prefix = "include/gradhealth/";
  if (path.substr(0, prefix.size()) == prefix) {
    const std::string_view name = path.substr(prefix.size(), path.find('.', prefix.size()) - prefix.size());
    return name.substr(0, 5) == "hooks" ? "hooks" : "lib/" + std::string(name);
  }
  return std::string(path.substr(0, first));
}

std::vector<std::string> forbidden_includes(std::string_view path, std::string_view source) {
  static const std::regex include(R"(#\s*include\s*([<"])([^>"]+)[>"])");
  const std::string part = part_of(path);
  std::vector<std::string> problems;
  const auto allowed = kMayInclude.find(part);
  const std::string text(source);
  for (std::sregex_iterator it(text.begin(), text.end(), include), end; it != end; ++it) {
    const std::string name = (*it)[2];
    const auto refuse = [&] { problems.push_back(std::string(path) + " includes " + name); };
    for (const Guarded& guarded : kGuarded)
      if (std::regex_search(name, std::regex(guarded.pattern)) && guarded.parts.count(part) == 0) refuse();
    const bool is_public = name.substr(0, 11) == "gradhealth/";
    const bool is_private = (*it)[1] == "\"" && name.find('/') != std::string::npos;
    if ((!is_public && !is_private) || allowed == kMayInclude.end()) continue;
    std::string target = is_public ? name.substr(11, name.find('.') - 11) : name.substr(0, name.find('/'));
    if (target.substr(0, 6) == "hooks_") target = "hooks";  // Public headers of the hooks beside the main one.
    const std::string own = part.substr(part.find('/') + 1);
    // Parts see each other through public headers. Private things that are shared: the arithmetic of stats and, by the
    // comparison of two reports, the words and marks of one.
    const bool shares = target == "stats" || (part == "lib/comparison" && target == "report");
    const bool allowed_here =
        target == own || kCommon.count(target) > 0 || (allowed->second.count(target) > 0 && (is_public || shares));
    if (!allowed_here) refuse();
  }
  return problems;
}

}  // namespace gradhealth::test
