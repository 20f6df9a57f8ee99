#include <limits>
#include <string>
#include <vector>

#include <gradhealth/report.h>

#include "report/text_plot.h"
#include "report/wrap.h"
#include "support/catch.h"

namespace gradhealth {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

PlotSeries series(const std::vector<double>& values) {
  PlotSeries plot;
  for (const double value : values) {
    plot.first_step.push_back(static_cast<std::int64_t>(plot.first_step.size()));
    plot.minimum.push_back(value);
    plot.maximum.push_back(value);
    plot.nonfinite.push_back(0);
  }
  return plot;
}

std::vector<std::string> plot(const PlotSeries& values, std::size_t cells, std::size_t rows, Charset charset) {
  return text_plot(values, text_axis(values, cells), rows, charset);
}

}  // namespace

TEST_CASE("a falling line falls from the upper left to the lower right", "[report]") {
  const PlotSeries falling = series({3, 2, 1, 0});
  CHECK(plot(falling, 4, 2, Charset::kAscii) == std::vector<std::string>{"         3 '.", "         0   '."});
  // 2 × 4 dots a character: a diagonal is one of each.
  CHECK(plot(falling, 2, 1, Charset::kUnicode) == std::vector<std::string>{"         3 ⠑⢄"});
}

TEST_CASE("what is not finite is a cross and a gap", "[report]") {
  PlotSeries broken = series({1, 1, kNaN, kNaN, 1});
  broken.nonfinite[2] = broken.nonfinite[3] = 1;
  CHECK(plot(broken, 5, 1, Charset::kAscii) == std::vector<std::string>{"         1 ..xx."});
  PlotSeries missing = series({1, 1, kNaN, kNaN, 1});
  CHECK(plot(missing, 5, 1, Charset::kAscii) == std::vector<std::string>{"         1 ..  ."});
  PlotSeries nothing = series({kNaN, kNaN, kNaN});
  nothing.nonfinite = {1, 1, 1};
  CHECK(plot(nothing, 3, 1, Charset::kAscii) == std::vector<std::string>{"           xxx"});
}

TEST_CASE("a spike within one column shows from bottom to top", "[report]") {
  PlotSeries spike = series({0, 0, 0});
  spike.maximum[1] = 4;
  CHECK(plot(spike, 3, 1, Charset::kAscii) == std::vector<std::string>{"         4 .:."});
}

TEST_CASE("values that span a hundredfold are drawn on a logarithmic scale, unless one is not positive", "[report]") {
  CHECK(is_logarithmic(series({1, 10, 101})));
  CHECK_FALSE(is_logarithmic(series({1, 10, 100})));
  CHECK_FALSE(is_logarithmic(series({0, 10, 1000})));
  CHECK_FALSE(is_logarithmic(series({-1, 10, 1000})));
  CHECK(plot(series({1, 10, 100, 1000}), 4, 2, Charset::kAscii) ==
        std::vector<std::string>{"      1000   .'", "         1 .'"});
}

TEST_CASE("steps keep their distances", "[report]") {
  const TextAxis axis{0, 100, 51};
  CHECK(axis.place(0, 51) == 0);
  CHECK(axis.place(50, 51) == 25);
  CHECK(axis.place(100, 51) == 50);
  CHECK(axis.place(-5, 51) == 0);
  CHECK(axis.place(500, 51) == 50);
  CHECK(TextAxis{7, 7, 51}.place(7, 51) == 0);
}

TEST_CASE("nothing is drawn of fewer than two values", "[report]") {
  CHECK(plot(series({}), 10, 3, Charset::kUnicode).empty());
  CHECK(plot(series({1}), 10, 3, Charset::kUnicode).empty());
  CHECK(plot(series({kNaN, 1}), 10, 3, Charset::kUnicode).empty());
}

}  // namespace gradhealth
