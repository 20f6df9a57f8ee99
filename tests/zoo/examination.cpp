#include "zoo/examination.h"

#include <algorithm>
#include <chrono>

#include <nlohmann/json.hpp>

#include <gradhealth/run_file.h>

#include "zoo/fixes.h"

namespace gradhealth::zoo {
namespace {

constexpr double kEnough = 0.9;  ///< Of the twin's metric.

void count(const std::vector<DiagnosedFinding>& findings, Row& row) {
  for (const DiagnosedFinding& each : findings) {
    row.errors += each.finding.severity == Severity::kError;
    row.warnings += each.finding.severity == Severity::kWarning;
    count(each.consequences, row);
  }
}

std::string label(const Finding& finding) {
  std::string text = finding.rule;
  if (!finding.subject.module.empty()) text += "@" + finding.subject.module;
  return finding.severity == Severity::kInfo ? text + " (info)" : text;
}

void note(const Result& result, Row& row) {
  count(result.diagnosis.roots, row);
  row.told = result.told;
  for (const DiagnosedFinding& root : result.diagnosis.roots) row.roots.push_back(label(root.finding));
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool tells(const Diagnosis& diagnosis, const std::string& rule) {
  return std::any_of(diagnosis.roots.begin(), diagnosis.roots.end(), [&](const DiagnosedFinding& root) {
    return root.finding.rule == rule && root.finding.severity != Severity::kInfo;
  });
}

/// What the monitor said, which a later step may have taken back.
std::vector<std::string> told_live(const std::filesystem::path& file) {
  std::vector<std::string> told;
  if (!std::filesystem::exists(file)) return told;
  for (const Event& event : RunReader(file).events())
    if (event.kind == "finding" && event.text.rfind("info", 0) != 0)
      told.push_back(event.text.substr(0, event.text.find(':')) + " at step " + std::to_string(event.step));
  return told;
}

class Clock {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

Row examine(const Fault& fault, std::uint64_t seed, const std::filesystem::path& directory) {
  const Clock clock;
  Row row;
  row.name = fault.name;
  row.seed = seed;
  row.faulty = true;
  Settings spoilt = fault.healthy;
  fault.spoil(spoilt);
  const std::string stem = fault.name + "-" + std::to_string(seed);
  const Result result = train(spoilt, seed, directory / (stem + ".h5"));
  note(result, row);
  row.spoilt = result.metric;
  row.twin = train(fault.healthy, seed, {}).metric;
  row.harmful = fault.harm == Harm::kAlways || row.spoilt < kEnough * row.twin;
  row.detected = row.errors + row.warnings > 0;

  Settings placebo = spoilt;
  placebo.lr /= 10;
  placebo.clip = 1;
  row.placebo = train(placebo, seed, {}).metric;

  if (!result.diagnosis.roots.empty()) {
    const Finding& root = result.diagnosis.roots.front().finding;
    row.root_first = contains(fault.roots, root.rule);
    row.module_right = fault.module.empty() || root.subject.module == fault.module;
    row.advice = root.recommendations.front().id;
    row.fix_right = contains(fault.fixes, row.advice);
    Settings fixed = spoilt;
    if (apply(root.recommendations.front(), fixed)) {
      const Result mended = train(fixed, seed, directory / (stem + "-fixed.h5"));
      row.fixed = mended.metric;
      row.trains = row.fixed >= kEnough * row.twin && !tells(mended.diagnosis, root.rule);
    }
  }
  row.seconds = clock.seconds();
  return row;
}

Row examine(const Healthy& healthy, std::uint64_t seed, const std::filesystem::path& directory) {
  const Clock clock;
  Row row;
  row.name = healthy.name;
  row.seed = seed;
  const std::filesystem::path file = directory / (healthy.name + "-" + std::to_string(seed) + ".h5");
  const Result result = healthy.train(seed, file);
  note(result, row);
  row.told_live = told_live(file);
  row.twin = result.metric;
  row.seconds = clock.seconds();
  return row;
}

using Json = nlohmann::json;

std::string to_json(const Row& row) {
  Json json{{"name", row.name},
            {"seed", row.seed},
            {"faulty", row.faulty},
            {"failure", row.failure},
            {"roots", row.roots},
            {"told_live", row.told_live},
            {"errors", row.errors},
            {"warnings", row.warnings},
            {"seconds", row.seconds},
            {"twin", row.twin},
            {"spoilt", row.spoilt},
            {"fixed", row.fixed},
            {"placebo", row.placebo},
            {"harmful", row.harmful},
            {"detected", row.detected},
            {"root_first", row.root_first},
            {"module_right", row.module_right},
            {"fix_right", row.fix_right},
            {"trains", row.trains},
            {"advice", row.advice}};
  if (row.told) json["told"] = *row.told;
  return json.dump();
}

Row from_json(const std::string& text) {
  const Json json = Json::parse(text);
  Row row;
  json.at("name").get_to(row.name);
  json.at("seed").get_to(row.seed);
  json.at("faulty").get_to(row.faulty);
  json.at("failure").get_to(row.failure);
  json.at("roots").get_to(row.roots);
  json.at("told_live").get_to(row.told_live);
  json.at("errors").get_to(row.errors);
  json.at("warnings").get_to(row.warnings);
  json.at("seconds").get_to(row.seconds);
  json.at("twin").get_to(row.twin);
  json.at("spoilt").get_to(row.spoilt);
  json.at("fixed").get_to(row.fixed);
  json.at("placebo").get_to(row.placebo);
  json.at("harmful").get_to(row.harmful);
  json.at("detected").get_to(row.detected);
  json.at("root_first").get_to(row.root_first);
  json.at("module_right").get_to(row.module_right);
  json.at("fix_right").get_to(row.fix_right);
  json.at("trains").get_to(row.trains);
  json.at("advice").get_to(row.advice);
  if (json.contains("told")) row.told = json.at("told").get<std::int64_t>();
  return row;
}

}  // namespace gradhealth::zoo
