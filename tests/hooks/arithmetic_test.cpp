// The parts of the hooks that know no tensor: sums over memory and the schedule.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "hooks/statistics/checksum.h"
#include "hooks/statistics/element_sums.h"
#include "hooks/steps/schedule.h"
#include "support/catch.h"

using gradhealth::hooks::BFloat16;
using gradhealth::hooks::checksum;
using gradhealth::hooks::element_sums;
using gradhealth::hooks::ElementSums;
using gradhealth::hooks::Half;
using gradhealth::hooks::magnitude_sums;
using gradhealth::hooks::Schedule;
using gradhealth::hooks::ScheduleOptions;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Block boundaries, remainders of vectors, and several blocks.
const std::vector<std::size_t> kCounts{1, 7, 31, 32, 33, 64, 2047, 2048, 2049, 2080, 4095, 100'003};

struct Reference {
  long double sum = 0;
  long double squares = 0;
  long double deviation = 0;
  double max_abs = 0;
  std::int64_t zeros = 0;

  template <typename T>
  explicit Reference(const std::vector<T>& values) {
    for (const T value : values) {
      sum += value;
      squares += static_cast<long double>(value) * value;
      max_abs = std::max(max_abs, std::fabs(static_cast<double>(value)));
      zeros += value == 0;
    }
    const long double mean = sum / static_cast<long double>(values.size());
    for (const T value : values) deviation += (value - mean) * (value - mean);
    deviation = std::sqrt(deviation / static_cast<long double>(values.size()));
  }
};

/// @param tolerance relative; of mean and deviation, to the larger of the deviation and, for a few elements, the root
/// mean square.
template <typename T>
void check_against_reference(const std::vector<T>& values, double tolerance) {
  CAPTURE(values.size());
  const auto count = static_cast<std::int64_t>(values.size());
  const Reference reference(values);
  const double norm = static_cast<double>(std::sqrt(reference.squares));
  const ElementSums sums = element_sums(values.data(), count);
  CHECK(sums.count == count);
  CHECK(sums.zeros == reference.zeros);
  CHECK(sums.nonfinite == 0);
  CHECK(sums.max_abs == reference.max_abs);
  CHECK(std::fabs(sums.norm() - norm) <= tolerance * norm);
  CHECK(std::fabs(sums.mean() - static_cast<double>(reference.sum) / static_cast<double>(count)) <=
        tolerance * sums.rms());
  const double deviation = static_cast<double>(reference.deviation);
  CHECK(std::fabs(sums.std() - deviation) <= tolerance * std::max(deviation, 1e-6 * sums.rms()) + 1e-8 * sums.rms());
  const ElementSums magnitudes = magnitude_sums(values.data(), count);
  CHECK(magnitudes.count == count);
  CHECK(magnitudes.zeros == reference.zeros);
  CHECK(magnitudes.nonfinite == 0);
  CHECK(magnitudes.max_abs == reference.max_abs);
  CHECK(std::fabs(magnitudes.norm() - norm) <= tolerance * norm);
  CHECK(std::isnan(magnitudes.sum));
}

template <typename T>
std::vector<T> normal_values(std::size_t count, double mean, double deviation) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal(mean, deviation);
  std::vector<T> values(count);
  for (T& value : values) value = static_cast<T>(normal(random));
  return values;
}

/// Half precision by the definition of its bits.
double value_of(Half half) {
  const int exponent = (half.bits >> 10) & 31;
  const int mantissa = half.bits & 1023;
  const double sign = half.bits & 0x8000 ? -1 : 1;
  if (exponent == 31) return mantissa == 0 ? sign * kInfinity : std::nan("");
  return exponent == 0 ? sign * std::ldexp(mantissa, -24) : sign * std::ldexp(1024 + mantissa, exponent - 25);
}

std::vector<std::int64_t> recorded(const Schedule& schedule, std::int64_t steps) {
  std::vector<std::int64_t> result;
  for (std::int64_t step = 0; step < steps; ++step)
    if (schedule.records(step)) result.push_back(step);
  return result;
}

}  // namespace

TEST_CASE("sums over memory equal a long double reference", "[hooks]") {
  for (const std::size_t count : kCounts) {
    std::vector<float> floats = normal_values<float>(count, 0, 1);
    check_against_reference(floats, 2e-6);
    floats[count / 2] = 0;
    floats[count - 1] = -0.0f;
    check_against_reference(floats, 2e-6);
    check_against_reference(normal_values<double>(count, -3, 1e-3), 1e-9);
  }
}

TEST_CASE("a mean far from zero leaves the standard deviation exact", "[hooks]") {
  for (const std::size_t count : kCounts) {
    check_against_reference(normal_values<float>(count, 1000, 1), 2e-6);
    check_against_reference(normal_values<float>(count, -1e4, 0.5), 1e-5);
    check_against_reference(normal_values<float>(count, 0.9, 1), 2e-6);   // Just below the share of the mean …
    check_against_reference(normal_values<float>(count, -1.1, 1), 2e-6);  // … that has a block summed in double.
    check_against_reference(std::vector<float>(count, 0.1f), 2e-6);
  }
  // Blocks that each have a deviation, around means that differ.
  std::vector<float> values = normal_values<float>(10 * 2048, 0, 1);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += static_cast<float>(i / 2048) * 100;
  check_against_reference(values, 2e-6);
}

TEST_CASE("squares that leave float's range do not overflow or vanish", "[hooks]") {
  for (const std::size_t count : kCounts) {
    for (const float scale : {1e-40f, 1e-30f, 1e-20f, 1e-14f, 1e-12f, 1e12f, 1e15f, 1e16f, 1e20f, 1e37f}) {
      CAPTURE(scale);
      std::vector<float> values = normal_values<float>(count, 0, 1);
      for (float& value : values) value *= scale;
      check_against_reference(values, 2e-6);
    }
    check_against_reference(std::vector<float>(count, std::numeric_limits<float>::max()), 2e-6);
    check_against_reference(std::vector<float>(count, std::numeric_limits<float>::denorm_min()), 2e-6);
    check_against_reference(std::vector<float>(count, 0), 0);
  }
  // One large element among small ones.
  std::vector<float> values = normal_values<float>(5000, 0, 1e-6);
  values[3000] = 1e15f;
  check_against_reference(values, 2e-6);
}

TEST_CASE("what is not finite is counted in any lane of any block", "[hooks]") {
  for (const std::size_t count : {33u, 2048u, 4200u}) {
    for (std::size_t position = 0; position < count; position += position < 70 ? 1 : 97) {
      CAPTURE(count, position);
      std::vector<float> values(count, 1);
      values[position] = -kInfinity;
      ElementSums sums = element_sums(values.data(), static_cast<std::int64_t>(count));
      CHECK(sums.nonfinite == 1);
      CHECK(std::isinf(sums.norm()));
      CHECK(std::isinf(sums.max_abs));
      CHECK(magnitude_sums(values.data(), static_cast<std::int64_t>(count)).nonfinite == 1);
      values[position] = std::nanf("");
      values[(position + count / 2) % count] = 2;
      sums = element_sums(values.data(), static_cast<std::int64_t>(count));
      CHECK(sums.nonfinite == 1);
      CHECK(std::isnan(sums.norm()));
      CHECK(sums.max_abs == 2);
      CHECK(std::isnan(magnitude_sums(values.data(), static_cast<std::int64_t>(count)).norm()));
    }
  }
  const std::vector<float> all(3000, std::nanf(""));
  CHECK(element_sums(all.data(), 3000).nonfinite == 3000);
  CHECK(element_sums(all.data(), 3000).max_abs == 0);
  const std::vector<double> doubles{1, -std::numeric_limits<double>::infinity(), std::nan(""), 0};
  const ElementSums sums = element_sums(doubles.data(), 4);
  CHECK(sums.nonfinite == 2);
  CHECK(sums.zeros == 1);
}

TEST_CASE("sums of nothing are zero, and their mean is no number", "[hooks]") {
  const ElementSums sums = element_sums(static_cast<const float*>(nullptr), 0);
  CHECK(sums.count == 0);
  CHECK(sums.norm() == 0);
  CHECK(std::isnan(sums.mean()));
  CHECK(std::isnan(sums.std()));
}

TEST_CASE("every value of half precision is read as it is defined", "[hooks]") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Half half{static_cast<std::uint16_t>(bits)};
    const ElementSums sums = element_sums(&half, 1);
    const double value = value_of(half);
    const bool same = std::isfinite(value)
                          ? sums.sum == value && sums.max_abs == std::fabs(value) && sums.nonfinite == 0
                          : sums.nonfinite == 1 && std::isinf(sums.max_abs) == std::isinf(value);
    if (!same) FAIL("bits " << bits << " are " << value << ", read as " << sums.sum);
  }
  const BFloat16 brain[]{{0x3f80}, {0xc000}, {0x7f80}, {0x8000}};  // 1, -2, infinity, -0.
  CHECK(element_sums(brain, 2).sum == -1);
  CHECK(element_sums(brain, 3).nonfinite == 1);
  CHECK(element_sums(brain, 4).zeros == 1);
}

TEST_CASE("a checksum shows the smallest change anywhere", "[hooks]") {
  std::vector<float> values = normal_values<float>(1001, 0, 1);
  const std::size_t bytes = values.size() * sizeof(float) - 1;  // Not a whole number of words.
  const std::uint64_t before = checksum(values.data(), bytes);
  for (const std::size_t i : {0u, 1u, 17u, 999u}) {
    const float kept = values[i];
    values[i] = std::nextafter(kept, kInfinity);
    CHECK(checksum(values.data(), bytes) != before);
    values[i] = kept;
  }
  std::swap(values[0], values[1]);
  values[0] = std::nextafter(values[0], kInfinity);
  values[1] = std::nextafter(values[1], -kInfinity);
  const std::uint64_t swapped = checksum(values.data(), bytes);
  values[0] = std::nextafter(values[0], kInfinity);
  values[1] = std::nextafter(values[1], -kInfinity);
  CHECK(checksum(values.data(), bytes) != swapped);  // One up, one down.
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

TEST_CASE("a recorded step whose update is skipped has the next one recorded too", "[hooks]") {
  Schedule schedule({0, 0.01, 0});
  schedule.note_skipped_update(19);
  CHECK(schedule.records(20));
  CHECK_FALSE(schedule.records(21));
  schedule.note_skipped_update(30);
  CHECK(schedule.records(31));
  CHECK_FALSE(schedule.records(32));
  for (int i = 0; i < 100; ++i) schedule.observe_cost(100 + i, 0.4e-3, 1e-3);
  CHECK(schedule.interval(200) == 80);  // That was long ago.
  for (int i = 0; i < 100; ++i) {
    schedule.note_skipped_update(200 + 2 * i);
    schedule.observe_cost(200 + 2 * i, 0.4e-3, 1e-3);
    schedule.observe_cost(201 + 2 * i, 0.4e-3, 1e-3);
  }
  CHECK(schedule.interval(400) == 160);  // Two steps of 40 %, 80 % in fact, over 160.
  Schedule fixed({7, 0.01, 0});
  fixed.note_skipped_update(21);
  CHECK_FALSE(fixed.records(22));
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

TEST_CASE("once the loss is lost, hundreds of steps are recorded one by one, once a run", "[hooks]") {
  Schedule schedule({0, 0.01, 0});
  schedule.search(43);
  CHECK(schedule.records(44));
  CHECK(schedule.records(543));
  CHECK_FALSE(schedule.records(544));
  schedule.search(700);
  CHECK_FALSE(schedule.records(701));
  Schedule fixed({7, 0.01, 0});
  fixed.search(43);
  CHECK_FALSE(fixed.records(44));
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

TEST_CASE("the first steps and those after a suspicion are read whole", "[hooks]") {
  Schedule schedule({0, 0.01, 0});
  CHECK(schedule.exact(0));
  CHECK(schedule.exact(19));
  CHECK_FALSE(schedule.exact(20));
  schedule.suspect(100);
  CHECK(schedule.exact(100));
  CHECK(schedule.exact(110));
  CHECK_FALSE(schedule.exact(111));
  Schedule fixed({50, 0, 0});
  fixed.suspect(100);
  CHECK(fixed.exact(600));
  CHECK_FALSE(fixed.exact(601));
}
