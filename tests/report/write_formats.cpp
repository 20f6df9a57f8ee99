// Writes every format for runs of every sort: write_formats FOLDER. What a hostile run contains is in CASE.text.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include <gradhealth/report.h>

#include "report/sample.h"

namespace gradhealth {
namespace {

struct Case {
  std::string name;
  std::vector<Report> reports;
};

const std::vector<std::string> kHostile{
    "</script><script>alert(1)</script>",
    "\n::error file=a,line=1::no\n::add-mask::x\r\n##[error]",
    "%0A%25 100 %, 50 %",
    "`code` ``two`` | *bold* _it_ ~~s~~ [a](http://x.y) ![i](http://x.y/z.png) <b>",
    "@user @org/team a@b.org #123 GH-12 org/name#4 www.example.org https://example.org/a_b :+1: $x$",
    "- [ ] task\n# head\n1. list\n> quote\n---\n\tcode",
    "- item",
    "# head",
    "12. list",
    "\tcode",
    "---",
    "=== setext",
    "+ plus",
    "\x1b[31m\x07\x08\x7f \xe2\x80\xae rtl \xef\xbb\xbf",
    "\xff\xfe not UTF-8 \xc3",
    "a,b;c:d\"e'f\\g]]>{0}{{1}}&amp;&#64;",
};

std::vector<Case> cases() {
  Report nothing;
  nothing.run = "nothing/";
  std::vector<Case> all{{"healthy", {sample::healthy()}},
                        {"unhealthy", {sample::unhealthy()}},
                        {"suppressed", {sample::suppressed()}},
                        {"models", {sample::adversarial()}},
                        {"empty", {sample::empty()}},
                        {"nothing", {nothing}},
                        {"many", {sample::many(40, Severity::kWarning)}},
                        {"several", {sample::unhealthy(), sample::healthy(), sample::empty(), sample::adversarial()}},
                        {"twice", {sample::unhealthy(), sample::suppressed()}}};
  all.back().reports.back().run = "again.h5";
  for (std::size_t i = 0; i < kHostile.size(); ++i)
    all.push_back({"hostile-" + std::to_string(i), {sample::hostile(kHostile[i])}});
  return all;
}

void write(const std::filesystem::path& stem, const std::vector<Report>& reports) {
  const auto file = [&](const char* suffix) { return std::ofstream(stem.string() + suffix, std::ios::binary); };
  std::ofstream json = file(".json"), sarif = file(".sarif"), gitlab = file(".gitlab"), junit = file(".xml"),
                markdown = file(".md"), github = file(".github");
  CiOptions at;
  at.source = "src/train model.cpp";
  at.line = 12;
  reports.size() == 1 ? write_json(json, reports.front()) : write_json(json, reports);
  write_sarif(sarif, reports, reports.size() > 1 ? at : CiOptions{});
  write_gitlab(gitlab, reports);
  write_junit(junit, reports);
  write_markdown(markdown, reports);
  write_github(github, reports, at);
}

}  // namespace
}  // namespace gradhealth

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "write_formats FOLDER\n";
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  for (const gradhealth::Case& each : gradhealth::cases()) gradhealth::write(folder / each.name, each.reports);
  for (std::size_t i = 0; i < gradhealth::kHostile.size(); ++i)
    std::ofstream(folder / ("hostile-" + std::to_string(i) + ".text"))
        << gradhealth::printable(gradhealth::kHostile[i]);
  return 0;
}
