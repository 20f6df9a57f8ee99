// What the statistics of a tensor cost: the time of one pass over its memory, as a ratio to reading that memory once,
// interleaved in one process. Prints figures, asserts nothing.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "hooks/statistics/element_sums.h"

namespace {

using Clock = std::chrono::steady_clock;

#if defined(__x86_64__) && defined(__GNUC__)
#define BENCH_AVX2 __attribute__((target("avx2,fma"), noinline))
#else
#define BENCH_AVX2
#endif

/// What a compiler makes of a plain loop: one chain of vector additions.
BENCH_AVX2 double simple_sum(const float* data, std::int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) sum += data[i];
  return sum;
}

/// Four independent chains: nothing reads memory faster.
BENCH_AVX2 double fastest_sum(const float* data, std::int64_t count) {
  float sum[32] = {};
  for (std::int64_t i = 0; i + 32 <= count; i += 32) {
#pragma omp simd
    for (int lane = 0; lane < 32; ++lane) sum[lane] += data[i + lane];
  }
  return std::accumulate(sum, sum + 32, 0.0);
}

struct Pass {
  const char* name;
  std::function<double(const float*, std::int64_t)> run;
};

const std::vector<Pass>& passes() {
  using namespace gradhealth::hooks;
  static const std::vector<Pass> all{
      {"fastest sum", &fastest_sum},
      {"simple sum", &simple_sum},
      {"gradient", [](const float* data, std::int64_t count) { return magnitude_sums(data, count).sum_squares; }},
      {"all sums", [](const float* data, std::int64_t count) { return element_sums(data, count).sum_squares; }},
  };
  return all;
}

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

/// Reads enough other memory that nothing of `values` is left in the caches.
double evict() {
  static const std::vector<float> other(24 << 20, 1);
  return fastest_sum(other.data(), static_cast<std::int64_t>(other.size()));
}

enum class Cache { kHot, kCold };

void measure(const std::vector<float>& values, std::int64_t count, Cache cache, int rounds) {
  const int repetitions = cache == Cache::kHot ? static_cast<int>(std::max<std::int64_t>(1, 2'000'000 / count)) : 1;
  std::vector<std::vector<double>> nanoseconds(passes().size());
  std::vector<std::size_t> order(passes().size());
  std::iota(order.begin(), order.end(), 0);
  std::mt19937 random(1);
  volatile double sink = 0;
  for (int round = 0; round < rounds; ++round) {
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t which : order) {
      sink = sink + (cache == Cache::kHot ? passes()[which].run(values.data(), count) : evict());
      const Clock::time_point start = Clock::now();
      for (int i = 0; i < repetitions; ++i) sink = sink + passes()[which].run(values.data(), count);
      nanoseconds[which].push_back(std::chrono::duration<double, std::nano>(Clock::now() - start).count() /
                                   static_cast<double>(repetitions * count));
    }
  }
  fmt::print("{:>11} {:4}", count, cache == Cache::kHot ? "hot" : "cold");
  for (const std::vector<double>& times : nanoseconds) {
    std::vector<double> ratios(times.size());
    std::transform(times.begin(), times.end(), nanoseconds[0].begin(), ratios.begin(), std::divides<>());
    fmt::print("   {:6.3f} ns {:5.2f} ({:.2f}-{:.2f})", quantile(times, 0.5), quantile(ratios, 0.5),
               quantile(ratios, 0.25), quantile(ratios, 0.75));
  }
  fmt::print("\n");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Nanoseconds a float, and ratios to the fastest sum over the same memory: median (quartiles)."};
  double scale = 1;
  app.add_option("--scale", scale, "Times the usual number of rounds")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  fmt::print("{:>11} {:4}", "floats", "");
  for (const Pass& pass : passes()) fmt::print("   {:28}", pass.name);
  fmt::print("\n");
  std::vector<float> values(134'217'728);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i < 1'000'000 ? normal(random) : values[i - 999'983];
  struct Size {
    std::int64_t count;
    int rounds;
  };
  for (const Size size : {Size{50'000, 100}, Size{900'000, 100}, Size{11'000'000, 30}, Size{134'217'728, 7}}) {
    const int rounds = std::max(3, static_cast<int>(size.rounds * scale));
    measure(values, size.count, Cache::kHot, rounds);
    if (size.count < 134'217'728) measure(values, size.count, Cache::kCold, rounds);
  }
}
