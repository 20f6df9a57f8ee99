#include "hooks/element_sums.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

// The compiler vectorises the loops (-fopenmp-simd); this chooses the instruction set at run time.
#if defined(__x86_64__) && defined(__GNUC__)
#define GRADHEALTH_DISPATCH_AVX2 1
#else
#define GRADHEALTH_DISPATCH_AVX2 0
#endif

#define GRADHEALTH_INLINE [[gnu::always_inline]] inline

namespace gradhealth::hooks {
namespace {

constexpr std::int64_t kBlock = 2048;
constexpr std::uint32_t kInfinityBits = 0x7f800000u;

template <typename T>
std::int64_t count_nonfinite(const T* data, std::int64_t count) {
  return std::count_if(data, data + count, [](T x) { return !std::isfinite(x); });
}

GRADHEALTH_INLINE void add_block(const float* data, std::int64_t count, ElementSums& sums) {
  double sum = 0;
  double sum_squares = 0;
  std::uint32_t max_bits = 0;
  std::int32_t zeros = 0;
#pragma omp simd reduction(+ : sum, sum_squares, zeros) reduction(max : max_bits)
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, data + i, sizeof bits);
    bits &= 0x7fffffffu;
    const double x = data[i];
    sum += x;
    sum_squares += x * x;
    max_bits = max_bits > bits ? max_bits : bits;
    zeros += bits == 0;
  }
  sums.sum += sum;
  sums.sum_squares += sum_squares;
  sums.zeros += zeros;
  if (max_bits >= kInfinityBits) {  // Rare: only then are the non-finite elements counted, and NaN told from infinity.
    sums.nonfinite += count_nonfinite(data, count);
    max_bits = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      std::uint32_t bits;
      std::memcpy(&bits, data + i, sizeof bits);
      bits &= 0x7fffffffu;
      if (bits <= kInfinityBits) max_bits = std::max(max_bits, bits);
    }
  }
  float max_abs;
  std::memcpy(&max_abs, &max_bits, sizeof max_abs);
  sums.max_abs = std::max(sums.max_abs, static_cast<double>(max_abs));
}

GRADHEALTH_INLINE void add_block(const double* data, std::int64_t count, ElementSums& sums) {
  double sum = 0;
  double sum_squares = 0;
  double max_abs = 0;
  std::int64_t zeros = 0;
  std::int64_t finite = 0;
#pragma omp simd reduction(+ : sum, sum_squares, zeros, finite) reduction(max : max_abs)
  for (std::int64_t i = 0; i < count; ++i) {
    const double x = data[i];
    const double magnitude = std::fabs(x);
    sum += x;
    sum_squares += x * x;
    max_abs = magnitude > max_abs ? magnitude : max_abs;  // False for NaN.
    zeros += x == 0;
    finite += magnitude <= std::numeric_limits<double>::max();
  }
  sums.sum += sum;
  sums.sum_squares += sum_squares;
  sums.zeros += zeros;
  sums.nonfinite += count - finite;
  sums.max_abs = std::max(sums.max_abs, max_abs);
}

template <typename T>
GRADHEALTH_INLINE ElementSums sums_body(const T* data, std::int64_t count) {
  ElementSums sums;
  sums.count = count;
  for (std::int64_t begin = 0; begin < count; begin += kBlock)
    add_block(data + begin, std::min(kBlock, count - begin), sums);
  return sums;
}

template <typename T>
GRADHEALTH_INLINE ElementSums by_column_body(const T* data, std::int64_t rows, std::int64_t columns,
                                             std::uint8_t* active) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* line = data + row * columns;
#pragma omp simd
    for (std::int64_t column = 0; column < columns; ++column)
      active[column] = static_cast<std::uint8_t>(active[column] | (line[column] != T{0}));
  }
  return sums_body(data, rows * columns);
}

#if GRADHEALTH_DISPATCH_AVX2
#define GRADHEALTH_AVX2 __attribute__((target("avx2,fma")))
GRADHEALTH_AVX2 ElementSums sums_avx2(const float* data, std::int64_t count) { return sums_body(data, count); }
GRADHEALTH_AVX2 ElementSums sums_avx2(const double* data, std::int64_t count) { return sums_body(data, count); }
GRADHEALTH_AVX2 ElementSums by_column_avx2(const float* data, std::int64_t rows, std::int64_t columns,
                                           std::uint8_t* active) {
  return by_column_body(data, rows, columns, active);
}
GRADHEALTH_AVX2 ElementSums by_column_avx2(const double* data, std::int64_t rows, std::int64_t columns,
                                           std::uint8_t* active) {
  return by_column_body(data, rows, columns, active);
}
const bool kHasAvx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif

template <typename T>
ElementSums sums(const T* data, std::int64_t count) {
#if GRADHEALTH_DISPATCH_AVX2
  if (kHasAvx2) return sums_avx2(data, count);
#endif
  return sums_body(data, count);
}

template <typename T>
ElementSums by_column(const T* data, std::int64_t rows, std::int64_t columns, std::uint8_t* active) {
#if GRADHEALTH_DISPATCH_AVX2
  if (kHasAvx2) return by_column_avx2(data, rows, columns, active);
#endif
  return by_column_body(data, rows, columns, active);
}

}  // namespace

ElementSums& ElementSums::operator+=(const ElementSums& other) {
  count += other.count;
  sum += other.sum;
  sum_squares += other.sum_squares;
  max_abs = std::max(max_abs, other.max_abs);
  zeros += other.zeros;
  nonfinite += other.nonfinite;
  return *this;
}

double ElementSums::norm() const { return std::sqrt(sum_squares); }

double ElementSums::rms() const { return std::sqrt(sum_squares / static_cast<double>(count)); }

double ElementSums::mean() const { return sum / static_cast<double>(count); }

double ElementSums::std() const {
  const double variance = sum_squares / static_cast<double>(count) - mean() * mean();
  return std::isnan(variance) ? variance : std::sqrt(std::max(variance, 0.0));
}

ElementSums element_sums(const float* data, std::int64_t count) { return sums(data, count); }
ElementSums element_sums(const double* data, std::int64_t count) { return sums(data, count); }

ElementSums element_sums_by_column(const float* data, std::int64_t rows, std::int64_t columns, std::uint8_t* active) {
  return by_column(data, rows, columns, active);
}
ElementSums element_sums_by_column(const double* data, std::int64_t rows, std::int64_t columns, std::uint8_t* active) {
  return by_column(data, rows, columns, active);
}

}  // namespace gradhealth::hooks
