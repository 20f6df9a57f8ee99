#include "zoo/table.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include <fmt/format.h>
#include <boost/math/distributions/binomial.hpp>

namespace gradhealth::zoo {
namespace {

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : ", ") + text;
  return all.empty() ? "nothing" : all;
}

using Binomial = boost::math::binomial_distribution<>;

/// "57 of 60 (95.0 %, at least 87.4 %)": the one-sided bound of Clopper and Pearson.
std::string at_least(int hits, int trials) {
  if (trials == 0) return "none";
  return fmt::format("{} of {} ({:.1f} %, at least {:.1f} %)", hits, trials, 100.0 * hits / trials,
                     100 * Binomial::find_lower_bound_on_p(trials, hits, 0.05));
}

std::string at_most(int hits, int trials) {
  if (trials == 0) return "none";
  return fmt::format("{} of {} ({:.1f} %, at most {:.1f} %)", hits, trials, 100.0 * hits / trials,
                     100 * Binomial::find_upper_bound_on_p(trials, hits, 0.05));
}

/// By name.
std::map<std::string, std::vector<Row>> healthy_of(const std::vector<Row>& rows) {
  std::map<std::string, std::vector<Row>> runs;
  for (const Row& row : rows)
    if (!row.faulty) runs[row.name].push_back(row);
  return runs;
}

/// "rule@module (in 2), …"
std::string findings_in(const std::vector<Row>& runs) {
  std::map<std::string, int> times;
  for (const Row& row : runs)
    for (const std::string& root : std::set<std::string>(row.roots.begin(), row.roots.end())) ++times[root];
  std::vector<std::string> texts;
  for (const auto& [root, count] : times) texts.push_back(fmt::format("{} in {}", root, count));
  return joined(texts);
}

}  // namespace

Totals totals(const std::vector<Row>& rows) {
  Totals sum;
  for (const Row& row : rows) {
    if (!row.failure.empty()) {
      ++sum.failures;
      continue;
    }
    if (!row.faulty) {
      ++sum.healthy;
      sum.with_error += row.errors > 0;
      sum.with_warning += row.errors + row.warnings > 0;
      sum.told_live += !row.told_live.empty();
      continue;
    }
    if (!row.harmful) {
      ++sum.harmless;
      continue;
    }
    ++sum.faults;
    sum.detected += row.detected;
    sum.root_first += row.root_first;
    sum.module_right += row.module_right;
    sum.fix_right += row.fix_right;
    sum.trains += row.trains;
    sum.placebo_trains += row.placebo >= 0.9 * row.twin;
  }
  return sum;
}

std::string line(const Row& row) {
  if (!row.failure.empty()) return fmt::format("{:28} {:3}  FAILED: {}", row.name, row.seed, row.failure);
  if (!row.faulty)
    return fmt::format("{:28} {:3}  {} metric {:.2f} {}{}{}", row.name, row.seed,
                       row.errors > 0     ? "ERROR  "
                       : row.warnings > 0 ? "WARNING"
                                          : "quiet  ",
                       row.twin, joined(row.roots), row.told_live.empty() ? "" : " | told: ", joined(row.told_live));
  const auto mark = [](bool right, const char* what) { return right ? std::string(what) : std::string(5, '-'); };
  return fmt::format("{:28} {:3}  {} {} {} {} {} twin {:.2f} spoilt {:.2f} fixed {:.2f} | {} -> {}", row.name, row.seed,
                     row.harmful ? "harm" : "    ", mark(row.detected, "seen "), mark(row.root_first, "root "),
                     mark(row.fix_right, "fix  "), mark(row.trains, "train"), row.twin, row.spoilt, row.fixed,
                     joined(row.roots), row.advice);
}

std::string summary(const Totals& sum) {
  std::string text;
  text += fmt::format("faults that did harm   {} (and {} that did none)\n", sum.faults, sum.harmless);
  text += fmt::format("  detected             {}\n", at_least(sum.detected, sum.faults));
  text += fmt::format("  root cause first     {}\n", at_least(sum.root_first, sum.faults));
  text += fmt::format("  module right         {}\n", at_least(sum.module_right, sum.faults));
  text += fmt::format("  fix right            {}\n", at_least(sum.fix_right, sum.faults));
  text += fmt::format("  trains with the fix  {}\n", at_least(sum.trains, sum.faults));
  text += fmt::format("  trains with placebo  {}\n", at_least(sum.placebo_trains, sum.faults));
  text += fmt::format("healthy runs           {}\n", sum.healthy);
  text += fmt::format("  with an error        {}\n", at_most(sum.with_error, sum.healthy));
  text += fmt::format("  with a warning       {}\n", at_most(sum.with_warning, sum.healthy));
  text += fmt::format("  told of one at first {}\n", at_most(sum.told_live, sum.healthy));
  if (sum.failures > 0) text += fmt::format("could not be run       {}\n", sum.failures);
  return text;
}

std::string markdown(std::vector<Row> rows, const std::string& seeds, const std::string& healthy_seeds) {
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::make_tuple(!a.faulty, a.name, a.seed) < std::make_tuple(!b.faulty, b.name, b.seed);
  });
  std::string text = fmt::format(
      "# The zoo\n\nMade by `./tests/run --zoo`: faults under seeds {}, healthy runs under {}.\nBounds are one-sided "
      "95 % confidence bounds (Clopper and Pearson). The placebo is a tenth of the learning rate and gradients clipped "
      "at 1,\n"
      "whatever the fault.\n\n"
      "```\n{}```\n\n| fault | seed | harm | first root | advice | twin | spoilt | fixed | placebo | trains |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
      seeds, healthy_seeds, summary(totals(rows)));
  const auto yes = [](bool is) { return is ? "yes" : "no"; };
  for (const Row& row : rows)
    if (row.faulty)
      text +=
          fmt::format("| {} | {} | {} | {}{} | {} | {:.2f} | {:.2f} | {:.2f} | {:.2f} | {} |\n", row.name, row.seed,
                      yes(row.harmful), row.roots.empty() ? "nothing" : row.roots.front(), row.root_first ? "" : " ✗",
                      row.advice, row.twin, row.spoilt, row.fixed, row.placebo, yes(row.trains));
  text +=
      "\n| healthy run | runs | with an error | with a warning | findings in any |\n| --- | --- | --- | --- | --- |\n";
  for (const auto& [name, runs] : healthy_of(rows)) {
    const Totals sum = totals(runs);
    text += fmt::format("| {} | {} | {} | {} | {} |\n", name, sum.healthy, sum.with_error, sum.with_warning,
                        findings_in(runs));
  }
  return text;
}

}  // namespace gradhealth::zoo
