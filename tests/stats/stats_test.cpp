#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "stats/history.h"
#include "stats/line_fit.h"
#include "stats/moments.h"
#include "stats/quantile.h"
#include "stats/robust.h"
#include "stats/window.h"
#include "support/catch.h"

using namespace gradhealth::stats;

namespace {

std::vector<double> normal_values(std::size_t count, double mean, double deviation) {
  std::mt19937 generator(7);
  std::normal_distribution<double> normal(mean, deviation);
  std::vector<double> values(count);
  for (double& value : values) value = normal(generator);
  return values;
}

bool near(double a, double b, double relative) {
  return std::abs(a - b) <= relative * std::max(std::abs(a), std::abs(b));
}

/// The last `count` of the first `end` values, in order of size.
std::vector<double> tail(const std::vector<double>& values, std::size_t end, std::size_t count) {
  std::vector<double> sorted;
  for (std::size_t i = end - count; i < end; ++i) sorted.push_back(values[i]);
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

double quantile_of(const std::vector<double>& sorted, double p) {
  const double position = p * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const double high = sorted[std::min(below + 1, sorted.size() - 1)];
  return sorted[below] + (position - static_cast<double>(below)) * (high - sorted[below]);
}

}  // namespace

TEST_CASE("moments of groups are the moments of all values", "[stats]") {
  const std::vector<double> values = normal_values(1000, 1e6, 0.01);
  Moments grouped;
  for (std::size_t begin = 0; begin < values.size(); begin += 125) {
    Moments group;
    for (std::size_t i = begin; i < begin + 125; ++i) group.add(values[i]);
    grouped.add_group(125, group.mean(), group.deviation());
  }
  long double mean = 0;
  for (const double value : values) mean += value;
  mean /= 1000;
  long double scatter = 0;
  for (const double value : values) scatter += (value - mean) * (value - mean);
  // Σx² − n·mean² would have lost all digits of this variance.
  CHECK(near(grouped.mean(), static_cast<double>(mean), 1e-14));
  CHECK(near(grouped.variance(), static_cast<double>(scatter / 1000), 1e-5));
  CHECK(near(grouped.mean_square(), 1e12, 1e-6));
}

TEST_CASE("moments of nothing are not numbers, and values that are none are left out", "[stats]") {
  Moments moments;
  CHECK(std::isnan(moments.mean()));
  CHECK(std::isnan(moments.variance()));
  moments.add(NAN);
  moments.add_group(0, 1, 1);
  CHECK(std::isnan(moments.mean()));
  moments.add(3);
  CHECK(moments.mean() == 3);
  CHECK(moments.variance() == 0);
}

TEST_CASE("medians agree with sorting", "[stats]") {
  for (const std::size_t count : {1u, 2u, 5u, 64u, 101u}) {
    std::vector<double> values = normal_values(count, 0, 1);
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    CHECK(median_in_place(values.data(), count) == sorted[(count - 1) / 2]);
  }
  CHECK(std::isnan(median_in_place(nullptr, 0)));
}

TEST_CASE("a window's answers are those of sorting its last values", "[stats]") {
  std::vector<double> values = normal_values(400, 0, 1);
  for (std::size_t i = 0; i < values.size(); i += 7) values[i] = std::round(values[i]);  // Some are the same.
  for (const std::size_t capacity : {0u, 1u, 2u, 5u, 8u, 64u}) {
    Window window(capacity);
    for (std::size_t i = 0; i < values.size(); ++i) {
      window.push(values[i]);
      const std::size_t count = std::min(i + 1, std::max<std::size_t>(capacity, 1));
      std::vector<double> last = tail(values, i + 1, count);
      CAPTURE(capacity, i);
      REQUIRE(window.size() == count);
      REQUIRE(window.minimum() == last.front());
      REQUIRE(window.maximum() == last.back());
      REQUIRE(window.median() == last[(count - 1) / 2]);
      for (const double p : {0.0, 0.1, 0.9, 1.0}) REQUIRE(window.quantile(p) == quantile_of(last, p));
      const double median = window.median();
      for (double& value : last) value = std::abs(value - median);
      std::sort(last.begin(), last.end());
      REQUIRE(window.sigma() == kMadToSigma * last[(count - 1) / 2]);
    }
  }
}

TEST_CASE("a window holds the last values and its scale is that of the noise", "[stats]") {
  Window window(4);
  CHECK(std::isnan(window.median()));
  CHECK(std::isnan(window.sigma()));
  for (const double value : {100.0, 1.0, 2.0, 3.0, 4.0}) window.push(value);
  window.push(NAN);
  CHECK(window.full());
  CHECK(window.median() == 2);
  CHECK(window.minimum() == 1);
  CHECK(window.maximum() == 4);
  window.clear();
  CHECK(window.size() == 0);

  Window noise(500);
  for (const double value : normal_values(500, 5, 2)) noise.push(value);
  CHECK(near(noise.sigma(), 2, 0.1));
  noise.push(1e9);
  CHECK(near(noise.sigma(), 2, 0.1));
}

TEST_CASE("a streaming quantile is exact at first and close later", "[stats]") {
  const std::vector<double> values = normal_values(20000, 0, 1);
  Quantile quantile(0.95);
  CHECK(std::isnan(quantile.value()));
  for (std::size_t i = 0; i < 50; ++i) quantile.push(values[i]);
  CHECK(quantile.value() == quantile_of(tail(values, 50, 50), 0.95));
  for (std::size_t i = 50; i < values.size(); ++i) quantile.push(values[i]);
  CHECK(near(quantile.value(), 1.645, 0.03));
}

TEST_CASE("the slope is the least-squares slope", "[stats]") {
  LineFit fit;
  CHECK(std::isnan(fit.slope()));
  fit.add(1000, 3);
  CHECK(std::isnan(fit.slope()));
  for (int i = 1; i < 10; ++i) fit.add(1000 + i, 3 - 0.5 * i);
  fit.add(NAN, 1);
  CHECK(fit.count() == 10);
  CHECK(near(fit.slope(), -0.5, 1e-12));
}

TEST_CASE("a history keeps the levels of a series of any length in its capacity", "[stats]") {
  for (const int count : {8, 63, 64, 65, 1000, 100000}) {
    History history(64);
    for (int i = 0; i < count; ++i) history.push(i < count / 2 ? 4 : i < 3 * count / 4 ? 2 : 1);
    CAPTURE(count);
    CHECK(history.level(0.05, 0.4) == 4);
    CHECK(history.level(0.55, 0.7) == 2);
    CHECK(history.level(0.85, 1) == 1);
    CHECK(history.count() == static_cast<std::size_t>(count));
    for (int i = 0; i < 4 * count; ++i) history.push(7);
    CHECK(history.level(0.85, 1) == 7);  // Asked again, of a longer series.
  }
  CHECK(std::isnan(History(8).level(0, 1)));
}
