#include "stats/decimate.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "support/catch.h"

using gradhealth::Decimator;
using gradhealth::Extremes;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("up to the limit every row is a column of its own", "[stats]") {
  Decimator columns(4);
  for (std::int64_t step : {0, 10, 20, 30}) {
    columns.begin_row(step);
    columns.add(0, static_cast<double>(step));
  }
  REQUIRE(columns.steps() == std::vector<std::int64_t>{0, 10, 20, 30});
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(columns.series(0)[i].minimum == static_cast<double>(columns.steps()[i]));
    CHECK(columns.series(0)[i].maximum == static_cast<double>(columns.steps()[i]));
  }
}

TEST_CASE("full columns are merged in pairs and keep the extremes", "[stats]") {
  Decimator columns(4);
  for (std::int64_t step = 0; step < 5; ++step) {
    columns.begin_row(step);
    columns.add(0, static_cast<double>(step));
  }
  REQUIRE(columns.steps() == std::vector<std::int64_t>{0, 2, 4});
  CHECK(columns.series(0)[1].minimum == 2);
  CHECK(columns.series(0)[1].maximum == 3);
}

TEST_CASE("columns stay within the limit and nothing is lost, however long the run", "[stats]") {
  std::mt19937 random(1);
  std::normal_distribution<double> normal;
  for (const std::size_t limit : {1u, 2u, 5u, 64u, 2048u}) {
    for (const std::int64_t rows : {1, 2, 63, 64, 65, 1000, 4099}) {
      CAPTURE(limit, rows);
      Decimator columns(limit);
      Extremes all;
      std::uint32_t bad = 0;
      for (std::int64_t step = 0; step < rows; ++step) {
        columns.begin_row(step);
        const double value = step % 7 == 3 ? kNaN : normal(random);
        columns.add(0, value);
        if (std::isnan(value))
          ++bad;
        else
          all.add(value);
      }
      Extremes merged;
      for (const Extremes& column : columns.series(0)) merged.merge(column);
      CHECK(columns.steps().size() <= std::max<std::size_t>(2, limit + 1));
      CHECK(merged.nonfinite == bad);
      CHECK(merged.minimum == all.minimum);
      CHECK(merged.maximum == all.maximum);
      CHECK(columns.steps().front() == 0);
      const std::size_t width = columns.steps().size() > 1 ? static_cast<std::size_t>(columns.steps()[1]) : 1;
      for (std::size_t i = 0; i < columns.steps().size(); ++i)
        CHECK(columns.steps()[i] == static_cast<std::int64_t>(i * width));
    }
  }
}

TEST_CASE("infinite values are counted and leave no trace in the extremes", "[stats]") {
  Decimator columns(2);
  columns.begin_row(0);
  columns.add(0, -kInfinity);
  columns.add(0, 3);
  columns.add_nonfinite(0);
  CHECK(columns.series(0)[0].nonfinite == 2);
  CHECK(columns.series(0)[0].minimum == 3);
  CHECK(columns.series(0)[0].maximum == 3);
}

TEST_CASE("a series that appears late is empty before, also after merging", "[stats]") {
  Decimator columns(4);
  for (std::int64_t step = 0; step < 9; ++step) {
    columns.begin_row(step);
    if (step >= 4) columns.add(3, static_cast<double>(step));
  }
  REQUIRE(columns.steps() == std::vector<std::int64_t>{0, 4, 8});
  CHECK(std::isnan(columns.series(3)[0].maximum));
  CHECK(columns.series(3)[1].minimum == 4);
  CHECK(columns.series(3)[2].maximum == 8);
  CHECK(columns.series(0).empty());
  CHECK(columns.series(99).empty());
}
