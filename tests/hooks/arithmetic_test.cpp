// The parts of the hooks that know no tensor: sums over memory and the schedule.
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "hooks/element_sums.h"
#include "hooks/schedule.h"
#include "support/catch.h"

using gradhealth::hooks::element_sums;
using gradhealth::hooks::element_sums_by_column;
using gradhealth::hooks::ElementSums;
using gradhealth::hooks::Schedule;
using gradhealth::hooks::ScheduleOptions;

namespace {

template <typename T>
void check_against_reference(double mean, double deviation) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal(mean, deviation);
  for (const std::size_t count : {1u, 7u, 64u, 2047u, 2048u, 2049u, 100'003u}) {
    CAPTURE(count);
    std::vector<T> values(count);
    for (T& value : values) value = static_cast<T>(normal(random));
    values[count / 2] = 0;
    long double sum = 0, squares = 0, max_abs = 0;
    for (const T value : values) {
      sum += value;
      squares += static_cast<long double>(value) * value;
      max_abs = std::max<long double>(max_abs, std::fabs(value));
    }
    const long double average = sum / count;
    long double spread = 0;
    for (const T value : values) spread += (value - average) * (value - average);
    const ElementSums sums = element_sums(values.data(), static_cast<std::int64_t>(count));
    CHECK(sums.count == static_cast<std::int64_t>(count));
    CHECK(sums.zeros == 1);
    CHECK(sums.nonfinite == 0);
    CHECK(sums.max_abs == static_cast<double>(max_abs));
    CHECK(std::fabs(sums.norm() - std::sqrt(static_cast<double>(squares))) <= 1e-12 * sums.norm());
    const double reference = std::sqrt(static_cast<double>(spread / count));
    CHECK(std::fabs(sums.std() - reference) <= 1e-7 * std::max(reference, 1.0));
  }
}

std::vector<std::int64_t> recorded(const Schedule& schedule, std::int64_t steps) {
  std::vector<std::int64_t> result;
  for (std::int64_t step = 0; step < steps; ++step)
    if (schedule.records(step)) result.push_back(step);
  return result;
}

}  // namespace

TEST_CASE("sums over memory equal a long double reference", "[hooks]") {
  check_against_reference<float>(0, 1);
  check_against_reference<float>(1000, 0.5);
  check_against_reference<double>(-3, 1e-3);
}

TEST_CASE("squares of large floats do not overflow", "[hooks]") {
  const std::vector<float> values(3000, 1e30f);
  const ElementSums sums = element_sums(values.data(), 3000);
  CHECK(std::isfinite(sums.norm()));
  CHECK(std::fabs(sums.norm() / (static_cast<double>(1e30f) * std::sqrt(3000.0)) - 1) < 1e-12);
}

TEST_CASE("what is not finite is counted and shows in the norm", "[hooks]") {
  std::vector<float> values(5000, 1);
  values[10] = std::numeric_limits<float>::infinity();
  ElementSums sums = element_sums(values.data(), 5000);
  CHECK(sums.nonfinite == 1);
  CHECK(std::isinf(sums.norm()));
  CHECK(std::isinf(sums.max_abs));
  values[10] = 2;
  values[4999] = std::numeric_limits<float>::quiet_NaN();
  sums = element_sums(values.data(), 5000);
  CHECK(sums.nonfinite == 1);
  CHECK(std::isnan(sums.norm()));
  CHECK(sums.max_abs == 2);
  std::vector<double> doubles{1, -std::numeric_limits<double>::infinity(), std::nan(""), 0};
  sums = element_sums(doubles.data(), 4);
  CHECK(sums.nonfinite == 2);
  CHECK(sums.zeros == 1);
}

TEST_CASE("columns that are never different from zero stay unmarked", "[hooks]") {
  const std::vector<float> values{0, 1, 0, 0,  //
                                  0, 0, -0.0f, std::nanf("")};
  std::vector<std::uint8_t> active(4);
  const ElementSums sums = element_sums_by_column(values.data(), 2, 4, active.data());
  CHECK(active == std::vector<std::uint8_t>{0, 1, 0, 1});
  CHECK(sums.zeros == 6);
}

TEST_CASE("the first 20 steps are recorded, then every tenth, then fewer", "[hooks]") {
  const Schedule schedule({0, 0.01, 0});
  const auto steps = recorded(schedule, 100);
  CHECK(steps.size() == 28);
  CHECK(steps[19] == 19);
  CHECK(steps[20] == 20);
  CHECK(steps[21] == 30);
  CHECK(schedule.interval(9'999) == 10);
  CHECK(schedule.interval(10'000) == 20);
  CHECK(schedule.interval(1'000'000) == 100);
}

TEST_CASE("a fixed interval holds whatever recording costs", "[hooks]") {
  Schedule schedule({7, 0.01, 0});
  CHECK_FALSE(schedule.observe_cost(50, 1, 1));
  schedule.suspect(51);
  CHECK(recorded(schedule, 30) == std::vector<std::int64_t>{0, 7, 14, 21, 28});
}

TEST_CASE("recording that costs more than its budget is spaced out until it fits", "[hooks]") {
  Schedule schedule({0, 0.01, 0});
  for (int i = 0; i < 100; ++i) schedule.observe_cost(100 + i, 0.4e-3, 1e-3);
  CHECK(schedule.interval(200) == 80);  // 40 % of a step measured, twice that in fact, over 80 steps: 1 %.
  Schedule cheap({0, 0.01, 0});
  for (int i = 0; i < 100; ++i) cheap.observe_cost(100 + i, 0.045e-3, 1e-3);
  CHECK(cheap.interval(200) == 10);
  Schedule unlimited({0, 0, 0});
  for (int i = 0; i < 100; ++i) unlimited.observe_cost(100 + i, 1, 1e-3);
  CHECK(unlimited.interval(200) == 10);
}

TEST_CASE("a file approaches its size limit ever more slowly", "[hooks]") {
  Schedule schedule({1, 0, 1000});
  CHECK_FALSE(schedule.observe_bytes(400));
  CHECK(schedule.observe_bytes(501));
  CHECK(schedule.interval(10) == 2);
  CHECK(schedule.observe_bytes(760));
  CHECK(schedule.interval(10) == 4);
}

TEST_CASE("a suspicion has the next steps recorded one by one, not again and again", "[hooks]") {
  Schedule schedule({0, 0.01, 0});
  schedule.suspect(43);
  CHECK(schedule.records(44));
  CHECK(schedule.records(53));
  CHECK_FALSE(schedule.records(54));
  schedule.suspect(60);
  CHECK_FALSE(schedule.records(61));
}
