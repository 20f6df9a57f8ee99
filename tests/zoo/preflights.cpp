#include "zoo/preflights.h"

#include <algorithm>
#include <exception>
#include <string>

#include <fmt/format.h>

namespace gradhealth::zoo {
namespace {

/// Of warnings and errors; the roots alone say enough.
std::string found(const PreflightReport& report) {
  std::string text;
  for (const DiagnosedFinding& root : report.diagnosis.roots)
    if (root.finding.severity != Severity::kInfo)
      text += fmt::format("{}{} ({}: {})", text.empty() ? "" : ", ", root.finding.rule, name(root.finding.severity),
                          root.finding.message);
  return text;
}

bool names_a_root(const PreflightReport& report, const Fault& fault) {
  return std::any_of(report.diagnosis.roots.begin(), report.diagnosis.roots.end(), [&](const DiagnosedFinding& root) {
    return std::find(fault.roots.begin(), fault.roots.end(), root.finding.rule) != fault.roots.end();
  });
}

}  // namespace

bool print_preflights(const std::vector<const Fault*>& faults, const std::vector<std::uint64_t>& seeds) {
  std::size_t healthy = 0;
  std::size_t named = 0;
  std::size_t all = 0;
  double slowest = 0;
  for (const std::uint64_t seed : seeds) {
    for (const Fault* fault : faults) {
      ++all;
      Settings spoiled = fault->healthy;
      fault->spoil(spoiled);
      const PreflightReport twin = look_before(fault->healthy, seed);
      slowest = std::max(slowest, twin.seconds);
      healthy += twin.healthy();
      if (!twin.healthy()) fmt::print("{} {}: the healthy twin: {}\n", fault->name, seed, found(twin));
      try {
        const PreflightReport report = look_before(spoiled, seed);
        const bool names = names_a_root(report, *fault);
        named += names;
        fmt::print("{} {}: {}{}\n", fault->name, seed, names ? "named, " : "", found(report));
      } catch (const std::exception& error) {  // A loss without a graph cannot be differentiated.
        fmt::print("{} {}: threw: {}\n", fault->name, seed, std::string(error.what()).substr(0, 80));
      }
    }
  }
  fmt::print("healthy twins that are healthy: {} of {}; faults whose cause is named: {} of {}; slowest: {:.3f} s\n",
             healthy, all, named, all, slowest);
  return healthy == all;
}

}  // namespace gradhealth::zoo
