#include "hooks/statistics/extremes.h"

#include <algorithm>
#include <cmath>

#include "hooks/statistics/vector_dispatch.h"

namespace gradhealth::hooks {
namespace {

constexpr std::int64_t kBlock = 4096;

template <typename T>
GRADHEALTH_INLINE Extremes extremes_body(const T* data, std::int64_t count) {
  constexpr T kLargest = std::numeric_limits<T>::max();
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  T min = kInfinity;
  T max = -kInfinity;
  std::int64_t finite = 0;
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, count);
    std::int32_t finite_here = 0;
#pragma omp simd reduction(+ : finite_here) reduction(min : min) reduction(max : max)
    for (std::int64_t i = begin; i < end; ++i) {
      const T x = data[i];
      const bool usable = std::fabs(x) <= kLargest;  // False for NaN.
      const T low = usable ? x : kInfinity;
      const T high = usable ? x : -kInfinity;
      min = low < min ? low : min;
      max = high > max ? high : max;
      finite_here += usable;
    }
    finite += finite_here;
  }
  Extremes result;
  result.count = count;
  result.nonfinite = count - finite;
  if (result.nonfinite > 0) result.nan = std::count_if(data, data + count, [](T x) { return std::isnan(x); });
  result.min = min;
  result.max = max;
  return result;
}

#if GRADHEALTH_DISPATCH_AVX2
GRADHEALTH_AVX2 Extremes extremes_avx2(const float* data, std::int64_t count) { return extremes_body(data, count); }
GRADHEALTH_AVX2 Extremes extremes_avx2(const double* data, std::int64_t count) { return extremes_body(data, count); }
#endif

template <typename T>
Extremes dispatched(const T* data, std::int64_t count) {
#if GRADHEALTH_DISPATCH_AVX2
  if (has_avx2()) return extremes_avx2(data, count);
#endif
  return extremes_body(data, count);
}

}  // namespace

Extremes extremes(const float* data, std::int64_t count) { return dispatched(data, count); }
Extremes extremes(const double* data, std::int64_t count) { return dispatched(data, count); }

}  // namespace gradhealth::hooks
