#include "hooks/statistics/element_sums.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "hooks/statistics/vector_dispatch.h"

// AVX-512 gains nothing for magnitudes and an eighth for sums, in the caches only. Software prefetch makes memory that
// is not in the caches slower to read, by a fifth: it gets in the way of the processor's own.

namespace gradhealth::hooks {
namespace {

enum class Wanted { kAll, kMagnitudes };

constexpr std::int64_t kBlock = 2048;
constexpr std::int64_t kLanes = 8;
constexpr std::int64_t kStride = 4 * kLanes;  // Four independent chains of sums hide the latency of an addition.
constexpr std::int32_t kMagnitudeBits = 0x7fffffff;
constexpr std::int32_t kInfinityBits = 0x7f800000;
// Within these magnitudes a block's squares neither overflow nor lose what matters of its norm to underflow.
constexpr float kTiny = 0x1p-45f;
constexpr float kHuge = 0x1p+50f;
// A block whose mean holds more than this share of its mean square is summed in double: its deviation is a difference.
constexpr double kMostMeanShare = 0.5;

GRADHEALTH_INLINE std::int32_t magnitude_bits(float x) {
  std::int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits & kMagnitudeBits;
}

GRADHEALTH_INLINE float from_bits(std::int32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

GRADHEALTH_INLINE float to_float(BFloat16 x) {
  return from_bits(static_cast<std::int32_t>(std::uint32_t{x.bits} << 16));
}

/// Without branches, so that it vectorises: rescales normal numbers, and lets a subtraction normalise the others.
GRADHEALTH_INLINE float to_float(Half x) {
  const std::uint32_t shifted = std::uint32_t{x.bits} << 17;  // Without the sign.
  const float normal = from_bits(static_cast<std::int32_t>((shifted >> 4) + (0xe0u << 23))) * 0x1p-112f;
  const float subnormal = from_bits(static_cast<std::int32_t>((shifted >> 17) | (126u << 23))) - 0.5f;
  const std::uint32_t sign = std::uint32_t{x.bits & 0x8000u} << 16;
  const auto magnitude = static_cast<std::uint32_t>(magnitude_bits(shifted < (1u << 27) ? subnormal : normal));
  return from_bits(static_cast<std::int32_t>(sign | magnitude));
}

/// In double, and with what is not finite counted: for blocks that float is not good enough for, and for remainders. In
/// lanes of its own rather than in a reduction, so that sums are as exact where the compiler does not vectorise.
GRADHEALTH_INLINE void add_in_double(const float* data, std::int64_t count, ElementSums& sums) {
  double sum[kLanes] = {};
  double squares[kLanes] = {};
  std::int32_t largest[kLanes] = {};
  std::int32_t zeros[kLanes] = {};
  std::int32_t nonfinite[kLanes] = {};
  const auto add = [&](std::int64_t lane, float element) {
    const std::int32_t bits = magnitude_bits(element);
    const double x = element;
    sum[lane] += x;
    squares[lane] += x * x;
    const std::int32_t number = bits <= kInfinityBits ? bits : 0;
    largest[lane] = largest[lane] > number ? largest[lane] : number;
    zeros[lane] += bits == 0;
    nonfinite[lane] += bits >= kInfinityBits;
  };
  std::int64_t begin = 0;
  for (; begin + kLanes <= count; begin += kLanes) {
#pragma omp simd
    for (std::int64_t lane = 0; lane < kLanes; ++lane) add(lane, data[begin + lane]);
  }
  for (std::int64_t lane = 0; begin + lane < count; ++lane) add(lane, data[begin + lane]);
  for (std::int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::int64_t lane = 0; lane < half; ++lane) {
      sum[lane] += sum[lane + half];
      squares[lane] += squares[lane + half];
      largest[lane] = std::max(largest[lane], largest[lane + half]);
      zeros[lane] += zeros[lane + half];
      nonfinite[lane] += nonfinite[lane + half];
    }
  }
  sums.sum += sum[0];
  sums.sum_squares += squares[0];
  sums.zeros += zeros[0];
  sums.nonfinite += nonfinite[0];
  sums.max_abs = std::max(sums.max_abs, static_cast<double>(from_bits(largest[0])));
}

GRADHEALTH_INLINE std::int64_t count_zeros(const float* data, std::int64_t count) {
  std::int32_t zeros = 0;
#pragma omp simd reduction(+ : zeros)
  for (std::int64_t i = 0; i < count; ++i) zeros += magnitude_bits(data[i]) == 0;
  return zeros;
}

/// A multiple of kStride elements. Zeros and non-finite elements show in the smallest and the largest magnitude, so
/// that they are counted only where there are any.
template <Wanted wanted>
GRADHEALTH_INLINE void add_strides(const float* data, std::int64_t count, ElementSums& sums) {
  float sum[kLanes] = {};
  float squares0[kLanes] = {}, squares1[kLanes] = {}, squares2[kLanes] = {}, squares3[kLanes] = {};
  std::int32_t largest[kLanes] = {};
  std::int32_t smallest[kLanes];
  for (std::int32_t& bits : smallest) bits = kMagnitudeBits;
  for (std::int64_t i = 0; i < count; i += kStride) {
#pragma omp simd
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const float x0 = data[i + lane], x1 = data[i + kLanes + lane];
      const float x2 = data[i + 2 * kLanes + lane], x3 = data[i + 3 * kLanes + lane];
      const std::int32_t bits0 = magnitude_bits(x0), bits1 = magnitude_bits(x1);
      const std::int32_t bits2 = magnitude_bits(x2), bits3 = magnitude_bits(x3);
      if (wanted == Wanted::kAll) sum[lane] += (x0 + x1) + (x2 + x3);
      squares0[lane] += x0 * x0;
      squares1[lane] += x1 * x1;
      squares2[lane] += x2 * x2;
      squares3[lane] += x3 * x3;
      const std::int32_t large01 = bits0 > bits1 ? bits0 : bits1, large23 = bits2 > bits3 ? bits2 : bits3;
      const std::int32_t large = large01 > large23 ? large01 : large23;
      largest[lane] = largest[lane] > large ? largest[lane] : large;
      const std::int32_t small01 = bits0 < bits1 ? bits0 : bits1, small23 = bits2 < bits3 ? bits2 : bits3;
      const std::int32_t small = small01 < small23 ? small01 : small23;
      smallest[lane] = smallest[lane] < small ? smallest[lane] : small;
    }
  }
  double block_sum = 0;
  double block_squares = 0;
  std::int32_t max_bits = 0;
  std::int32_t min_bits = kMagnitudeBits;
  for (std::int64_t lane = 0; lane < kLanes; ++lane) {
    block_sum += sum[lane];
    block_squares += (squares0[lane] + squares1[lane]) + (squares2[lane] + squares3[lane]);
    max_bits = std::max(max_bits, largest[lane]);
    min_bits = std::min(min_bits, smallest[lane]);
  }
  const float max_abs = from_bits(max_bits);
  const bool in_range = max_bits == 0 || (max_abs >= kTiny && max_abs <= kHuge);  // False for NaN.
  const bool offset =
      wanted == Wanted::kAll && block_sum * block_sum > kMostMeanShare * static_cast<double>(count) * block_squares;
  if (!in_range || offset) return add_in_double(data, count, sums);
  sums.sum += block_sum;
  sums.sum_squares += block_squares;
  sums.max_abs = std::max(sums.max_abs, static_cast<double>(max_abs));
  if (min_bits == 0) sums.zeros += count_zeros(data, count);
}

template <Wanted wanted>
GRADHEALTH_INLINE void add_block(const float* data, std::int64_t count, ElementSums& sums) {
  const std::int64_t whole = count - count % kStride;
  if (whole > 0) add_strides<wanted>(data, whole, sums);
  if (whole < count) add_in_double(data + whole, count - whole, sums);
}

template <Wanted>
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

template <Wanted wanted, typename Reduced>
GRADHEALTH_INLINE void add_block(const Reduced* data, std::int64_t count, ElementSums& sums) {
  std::array<float, kBlock> widened;
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) widened[static_cast<std::size_t>(i)] = to_float(data[i]);
  add_block<wanted>(widened.data(), count, sums);
}

template <Wanted wanted, typename T>
GRADHEALTH_INLINE ElementSums sums_body(const T* data, std::int64_t count) {
  ElementSums sums;
  for (std::int64_t begin = 0; begin < count; begin += kBlock)
    add_block<wanted>(data + begin, std::min(kBlock, count - begin), sums);
  sums.count = count;
  if (wanted == Wanted::kMagnitudes) sums.sum = std::numeric_limits<double>::quiet_NaN();
  return sums;
}

#if GRADHEALTH_DISPATCH_AVX2
template <Wanted wanted, typename T>
GRADHEALTH_AVX2 ElementSums sums_avx2(const T* data, std::int64_t count) {
  return sums_body<wanted>(data, count);
}
#endif

template <Wanted wanted, typename T>
ElementSums sums(const T* data, std::int64_t count) {
#if GRADHEALTH_DISPATCH_AVX2
  if (has_avx2()) return sums_avx2<wanted>(data, count);
#endif
  return sums_body<wanted>(data, count);
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

template <typename T>
ElementSums element_sums(const T* data, std::int64_t count) {
  return sums<Wanted::kAll>(data, count);
}

template <typename T>
ElementSums magnitude_sums(const T* data, std::int64_t count) {
  return sums<Wanted::kMagnitudes>(data, count);
}

template ElementSums element_sums(const float*, std::int64_t);
template ElementSums element_sums(const double*, std::int64_t);
template ElementSums element_sums(const Half*, std::int64_t);
template ElementSums element_sums(const BFloat16*, std::int64_t);
template ElementSums magnitude_sums(const float*, std::int64_t);
template ElementSums magnitude_sums(const double*, std::int64_t);
template ElementSums magnitude_sums(const Half*, std::int64_t);
template ElementSums magnitude_sums(const BFloat16*, std::int64_t);

}  // namespace gradhealth::hooks
