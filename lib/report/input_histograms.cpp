#include "report/input_histograms.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include <fmt/format.h>

#include "report/escape.h"
#include "report/summary.h"

namespace gradhealth {
namespace {

constexpr double kRounding = 1e-3;  ///< What shares may add up to beside 1; they are stored in single precision.
constexpr std::size_t kMostLines = 4;
constexpr std::size_t kMostName = 24;

/// The range of one feature, or of all of them.
InputHistogram range_of(const StepRecord& record, std::size_t first, std::size_t end) {
  InputHistogram histogram;
  histogram.step = record.step;
  histogram.minimum = histogram.maximum = std::nan("");
  for (std::size_t i = first; i < end; ++i) {
    histogram.minimum = std::fmin(histogram.minimum, record.at(Quantity::kInputMin, i));
    histogram.maximum = std::fmax(histogram.maximum, record.at(Quantity::kInputMax, i));
  }
  return histogram;
}

bool can_be_right(const InputHistogram& histogram) {
  const double sum = std::accumulate(histogram.shares.begin(), histogram.shares.end(), 0.0);
  return std::isfinite(histogram.maximum - histogram.minimum) && histogram.minimum < histogram.maximum &&
         std::abs(sum - 1) < kRounding &&
         std::all_of(histogram.shares.begin(), histogram.shares.end(), [](double share) { return share >= 0; });
}

std::string from_to(double from, double to) { return fmt::format("from {} to {}", number(from), number(to)); }

std::string percent(double share) { return fmt::format("{:.3g} %", 100 * share); }

std::string described(const InputHistogram& histogram) {
  const auto most = std::max_element(histogram.shares.begin(), histogram.shares.end());
  const auto bin = static_cast<std::size_t>(most - histogram.shares.begin());
  return fmt::format("step {} {}, {} of the values {}", histogram.step, from_to(histogram.minimum, histogram.maximum),
                     percent(*most), from_to(histogram.edge(bin), histogram.edge(bin + 1)));
}

}  // namespace

double InputHistogram::edge(std::size_t bin) const {
  const double share = static_cast<double>(bin) / static_cast<double>(shares.size());
  return minimum * (1 - share) + maximum * share;
}

void observe_histograms(const Run& run, const StepRecord& record, Plots& plots) {
  const std::vector<double>& shares = record.values(Quantity::kInputShare);
  if (std::all_of(shares.begin(), shares.end(), [](double share) { return std::isnan(share); })) return;
  const std::vector<Subject>& features = run.of(Axis::kFeature);
  const std::size_t bins = run.of(Axis::kInputBin).size();
  const bool each = bins == features.size() * kInputBins;
  if (!each && bins != kInputBins) {
    plots.histograms_damaged = true;
    return;
  }
  const std::size_t count = each ? std::min(features.size(), kMostInputsShown) : 1;
  for (std::size_t i = plots.histograms.size(); i < count; ++i)
    plots.histograms.push_back({each ? features[i].name : "all features", {}, {}});
  for (std::size_t i = 0; i < count; ++i) {
    InputHistogram histogram = each ? range_of(record, i, i + 1) : range_of(record, 0, features.size());
    for (std::size_t bin = 0; bin < kInputBins; ++bin)
      histogram.shares.push_back(record.at(Quantity::kInputShare, i * kInputBins + bin));
    const auto& found = histogram.shares;
    if (std::all_of(found.begin(), found.end(), [](double share) { return std::isnan(share); })) continue;
    if (!can_be_right(histogram)) {
      plots.histograms_damaged = true;
      continue;
    }
    if (plots.histograms[i].first.shares.empty()) plots.histograms[i].first = histogram;
    plots.histograms[i].last = std::move(histogram);
  }
}

std::string histogram_text(const InputHistograms& histograms) {
  std::string text = histograms.feature + ": " + described(histograms.first);
  if (histograms.last.step != histograms.first.step) text += "; " + described(histograms.last);
  return text;
}

std::string histogram_lines(const std::vector<InputHistograms>& histograms, std::size_t width, Charset charset) {
  constexpr const char* kBlocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  constexpr const char* kCharacters[] = {" ", ".", ":", "-", "=", "+", "*", "#", "@"};
  constexpr double kHighest = 8;
  std::string lines;
  std::size_t shown = 0;
  for (const InputHistograms& each : histograms) {
    const std::vector<double>& shares = each.first.shares;
    if (shares.empty()) continue;
    if (++shown > kMostLines) break;
    std::string name = shortened(printable(each.feature), kMostName);
    if (charset == Charset::kAscii) name = ascii(name);
    const std::string before = fmt::format("  {} at step {}: {} ", name, each.first.step, number(each.first.minimum));
    const std::string after = " " + number(each.first.maximum);
    if (before.size() + shares.size() + after.size() > width) continue;
    lines += before;
    const double highest = *std::max_element(shares.begin(), shares.end());
    for (const double share : shares) {
      const auto level = static_cast<std::size_t>(std::ceil(kHighest * share / highest));  // Few is not none.
      lines += charset == Charset::kAscii ? kCharacters[level] : kBlocks[level];
    }
    lines += after + '\n';
  }
  return lines;
}

}  // namespace gradhealth
