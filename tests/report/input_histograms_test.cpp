#include <functional>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gradhealth/report.h>

#include "report/input_histograms.h"
#include "report/sample.h"
#include "support/catch.h"

namespace gradhealth {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

Run features(std::size_t count, std::size_t histograms) {
  Run run;
  for (std::size_t i = 0; i < count; ++i)
    run.of(Axis::kFeature).push_back({"channel " + std::to_string(i), "", "conv2d", "", "float32", 1});
  for (std::size_t i = 0; i < histograms * kInputBins; ++i)
    run.of(Axis::kInputBin).push_back({"bin " + std::to_string(i), "", "conv2d", "", "float32", 1});
  return run;
}

/// A quarter in the first bin, the rest in another one.
void set_histogram(StepRecord& record, std::size_t feature, double low, double high, std::size_t peak) {
  record.set(Quantity::kInputMin, feature, low);
  record.set(Quantity::kInputMax, feature, high);
  for (std::size_t bin = 0; bin < kInputBins; ++bin)
    record.set(Quantity::kInputShare, feature * kInputBins + bin, bin == 0 ? 0.25 : bin == peak ? 0.75 : 0);
}

StepRecord at_step(std::int64_t step) {
  StepRecord record;
  record.step = step;
  return record;
}

Plots collected(const Run& run, const std::vector<StepRecord>& records) {
  PlotCollector collector;
  for (const StepRecord& record : records) collector.observe(run, record);
  return collector.plots();
}

std::string page(const Run& run, const Plots& plots) {
  Report report = sample::healthy();
  report.models[0].run.subjects = run.subjects;
  report.models[0].plots = plots;
  std::ostringstream out;
  write_html(out, report);
  const std::string text = out.str();
  return text.substr(0, text.find("<script"));
}

}  // namespace

TEST_CASE("the first and the last histogram of each feature are kept", "[report]") {
  const Run run = features(2, 2);
  std::vector<StepRecord> records{at_step(0), at_step(10), at_step(20), at_step(30)};
  set_histogram(records[0], 1, -1, 1, 31);
  set_histogram(records[1], 0, 0, 8, 4);
  set_histogram(records[1], 1, -1, 2, 8);
  set_histogram(records[2], 1, -1, 3, 5);
  const Plots plots = collected(run, records);
  REQUIRE(plots.histograms.size() == 2);
  CHECK_FALSE(plots.histograms_damaged);
  CHECK(plots.histograms[0].feature == "channel 0");
  CHECK(plots.histograms[0].first.step == 10);
  CHECK(plots.histograms[0].last.step == 10);
  CHECK(plots.histograms[0].first.edge(4) == 1);
  CHECK(plots.histograms[0].first.edge(32) == 8);
  CHECK(plots.histograms[1].first.step == 0);
  CHECK(plots.histograms[1].last.step == 20);
  CHECK(plots.histograms[1].last.maximum == 3);
  CHECK(plots.histograms[1].last.shares[5] == 0.75);
}

TEST_CASE("one histogram of many features goes from the smallest to the largest of their values", "[report]") {
  const Run run = features(40, 1);
  StepRecord record = at_step(3);
  for (std::size_t i = 1; i < 40; ++i) {
    record.set(Quantity::kInputMin, i, -static_cast<double>(i));
    record.set(Quantity::kInputMax, i, 2);
  }
  record.set(Quantity::kInputMax, 7, 100);
  for (std::size_t bin = 0; bin < kInputBins; ++bin) record.set(Quantity::kInputShare, bin, 1.0 / kInputBins);
  const Plots plots = collected(run, {record});
  REQUIRE(plots.histograms.size() == 1);
  CHECK(plots.histograms[0].feature == "all features");
  CHECK(plots.histograms[0].first.minimum == -39);
  CHECK(plots.histograms[0].first.maximum == 100);
}

TEST_CASE("histograms that cannot be right are left out, and that is said", "[report]") {
  const Run run = features(1, 1);
  const auto damaged = [&](const Run& of, const std::function<void(StepRecord&)>& spoil) {
    StepRecord record = at_step(0);
    set_histogram(record, 0, -1, 1, 3);
    spoil(record);
    const Plots plots = collected(of, {record});
    const std::string text = page(of, plots);
    CHECK_FALSE(contains(text, "<svg"));
    CHECK(contains(text, "damaged") == plots.histograms_damaged);
    return plots.histograms_damaged;
  };
  for (const double share : {kNaN, -0.25, 1e300, -1e300, kInfinity, 0.3, 2.0}) {
    CAPTURE(share);
    CHECK(damaged(run, [&](StepRecord& record) { record.set(Quantity::kInputShare, 0, share); }));
  }
  CHECK(damaged(run, [](StepRecord& record) {  // They add up to 1.
    record.set(Quantity::kInputShare, 1, 1e30);
    record.set(Quantity::kInputShare, 2, -1e30);
  }));
  for (const double end : {kNaN, kInfinity, -1.0, -3.0})
    CHECK(damaged(run, [&](StepRecord& record) { record.set(Quantity::kInputMax, 0, end); }));
  const auto as_it_is = [](StepRecord&) {};
  Run odd = features(1, 1);
  odd.of(Axis::kInputBin).pop_back();
  CHECK(damaged(odd, as_it_is));
  CHECK(damaged(features(3, 2), as_it_is));
  CHECK(damaged(features(1, 0), as_it_is));
  StepRecord none = at_step(0);
  set_histogram(none, 0, 2, 2, 3);
  for (std::size_t bin = 0; bin < kInputBins; ++bin) none.set(Quantity::kInputShare, bin, kNaN);
  CHECK_FALSE(collected(run, {none}).histograms_damaged);
}

TEST_CASE("the page draws the first and the last histogram beside the table", "[report]") {
  const Run run = features(2, 2);
  std::vector<StepRecord> records{at_step(0), at_step(599)};
  for (const std::size_t feature : {0, 1}) {
    set_histogram(records[0], feature, -1, 3, 16);
    set_histogram(records[1], feature, feature == 0 ? -2 : 900, feature == 0 ? 2 : 1000, 8);
  }
  const std::string text = page(run, collected(run, records));
  CHECK(occurrences(text, "<figure") == 2);
  CHECK(occurrences(text, "<svg") == 3);  // The second feature's values have gone elsewhere.
  CHECK(occurrences(text, "<rect class=\"bar\"") == 6);
  CHECK(occurrences(text, "class=\"outline\"") == 1);
  CHECK(occurrences(text, "class=\"zero\"") == 2);
  CHECK(contains(text, "bars: step 0, line: step 599"));
  CHECK(contains(text, "step 0, then step 599"));
  CHECK(contains(text, "<title>Step 0: 75 % from 1 to 1.125</title>"));
  CHECK(contains(text,
                 "aria-label=\"channel 0: step 0 from -1 to 3, 75 % of the values from 1 to 1.125; step 599 from -2 to "
                 "2, 75 % of the values from -1 to -0.875\""));
  CHECK_FALSE(contains(text.substr(text.find("<figure")), "nan"));
  CHECK_FALSE(contains(text, "damaged"));
}

TEST_CASE("what is drawn lies within the drawing, for extreme values too", "[report]") {
  const double most = std::numeric_limits<float>::max();
  for (const auto& [low, high] : {std::pair{-most, most}, {0.0, 1e-45}, {1.0, 1.0 + 1e-7}, {-1e-30, 1e30}}) {
    InputHistogram histogram{1, low, high, std::vector<double>(kInputBins, 0.0)};
    histogram.shares[3] = 1 - 1e-9;
    histogram.shares[31] = 1e-9;
    const std::string figure = histogram_figure({"x", histogram, histogram});
    CAPTURE(figure);
    CHECK(occurrences(figure, "<rect") == 2);
    for (const char* attribute : {" x=\"", " y=\"", " width=\"", " height=\""})
      for (std::size_t at = figure.find(attribute); at != std::string::npos; at = figure.find(attribute, at + 1)) {
        const double place = std::stod(figure.substr(at + std::string(attribute).size(), 24));
        CHECK(place >= 0);
        CHECK(place <= 320);
      }
  }
}

TEST_CASE("as many features are drawn as the table shows", "[report]") {
  const Run run = features(40, 40);
  StepRecord record = at_step(0);
  for (std::size_t i = 0; i < 40; ++i) set_histogram(record, i, 0, 1, 3);
  CHECK(occurrences(page(run, collected(run, {record})), "<figure") == 16);
}

TEST_CASE("a file without histograms has the table as before", "[report]") {
  StepRecord record = at_step(0);
  record.set(Quantity::kInputMin, 0, -1);
  record.set(Quantity::kInputMax, 0, 1);
  const Run run = features(1, 0);
  const std::string text = page(run, collected(run, {record}));
  CHECK(contains(text, "<td>channel 0</td>"));
  CHECK_FALSE(contains(text, "<figure"));
  CHECK_FALSE(contains(text, "Histograms"));
}

TEST_CASE("a feature's name is text in its figure", "[report]") {
  for (const std::string name : {"</svg><script>alert(1)</script>", "\" onload=\"alert(1)", "a\x1b[31m\nb", "\xff"}) {
    Run run = features(1, 1);
    run.of(Axis::kFeature)[0].name = name;
    StepRecord record = at_step(0);
    set_histogram(record, 0, 0, 1, 3);
    const Plots plots = collected(run, {record});
    const std::string figure = histogram_figure(plots.histograms[0]);
    CAPTURE(figure);
    CHECK(occurrences(figure, "<script") == 0);
    CHECK(occurrences(figure, "</svg") == 1);
    CHECK(occurrences(figure, "\" onload") == 0);
    CHECK_FALSE(contains(figure, name));
    for (const Charset charset : {Charset::kUnicode, Charset::kAscii}) {
      const std::string lines = histogram_lines(plots.histograms, 80, charset);
      CHECK(occurrences(lines, "\n") == 1);
      CHECK_FALSE(contains(lines, "\x1b"));
      CHECK_FALSE(contains(lines, "\xff"));
    }
  }
}

TEST_CASE("the terminal shows the first histogram as a line of bars", "[report]") {
  const Run run = features(6, 6);
  std::vector<StepRecord> records{at_step(2), at_step(9)};
  for (std::size_t i = 0; i < 6; ++i)
    for (StepRecord& record : records) set_histogram(record, i, -0.5, 1.5, 31);
  Report report = sample::healthy();
  report.models[0].plots = collected(run, records);
  const auto text = [&](Charset charset, std::size_t width) {
    std::ostringstream out;
    write_terminal(out, report, {Colour::kNever, width, charset});
    return out.str();
  };
  const std::string gap(30, ' ');
  CHECK(contains(text(Charset::kUnicode, 80), "\nInput:\n  channel 0 at step 2: -0.5 ▃" + gap + "█ 1.5\n"));
  CHECK(contains(text(Charset::kAscii, 80), "  channel 3 at step 2: -0.5 -" + gap + "@ 1.5\n"));
  CHECK_FALSE(contains(text(Charset::kAscii, 80), "channel 4"));
  CHECK_FALSE(contains(text(Charset::kAscii, 60), "channel 0 at"));  // It does not fit.
  CHECK(contains(text(Charset::kUnicode, 64), "█ 1.5\n"));  // Just.
}

}  // namespace gradhealth
