#pragma once

#include <cstdint>
#include <vector>

#include "hooks/statistics/element_sums.h"

namespace gradhealth::hooks {

/// Where the values of each unit lie in contiguous memory: [outer × units × inner].
struct UnitLayout {
  std::int64_t outer = 0;
  std::int64_t units = 0;
  std::int64_t inner = 1;
  /// Values of one unit that count as one sample, such as the positions within an image, lie under this many
  /// consecutive indices of `outer`, and `inner` adds none. 0: every value is a sample.
  std::int64_t outer_per_sample = 0;

  std::int64_t count() const { return outer * units * inner; }
};

/// How much of a tensor is read.
struct Sampling {
  static constexpr std::int64_t kEverything = 0;
  /// Tensors of more elements than this are read in part: about this many elements, more where each of the units could
  /// not be seen in 64 samples otherwise.
  std::int64_t elements = kEverything;
  /// Equal numbers choose equal places. A number that changes from step to step leaves no place unseen for long.
  std::uint64_t phase = 0;
};

/// Elements that are to be counted: those below `low` and above `high`.
struct Outside {
  float low = 0;
  float high = 0;
};

/// What the monitor reads of an activation when it samples: a relative standard error of 0.3 % for the root mean square
/// of normally distributed elements.
inline constexpr std::int64_t kSampledElements = 65'536;

struct UnitSums {
  ElementSums elements;              ///< Over the elements that were read.
  std::vector<std::uint8_t> active;  ///< By unit: 1 if an element that was read is not zero.
  std::int64_t samples = 0;          ///< Samples of each unit that were read.
  std::int64_t total = 0;            ///< Elements that there are.
  std::int64_t outside = 0;          ///< Of the elements that were read, if they were to be counted.
};

/// Sums over contiguous memory of float, double, Half or BFloat16, and which units were not zero throughout.
///
/// A sample is made of runs of consecutive elements, one at a pseudo-random place of each of equal stretches of the
/// memory: evenly spread, and out of step with whatever repeats in it. With n elements read of N, as independent of
/// each other as elements anywhere, standard errors are sqrt((1 - n/N) / n) times: the standard deviation, for the
/// mean; sqrt(kurtosis - 1) / 2 (normal distribution: 0.71) relative, for the root mean square, where the kurtosis is
/// E x⁴ / (E x²)²; sqrt(p (1 - p)) for a share p of zeros. Where elements resemble their neighbours, n is as
/// small as the number of runs. The maximum is a lower bound, and so is a number of non-finite elements.
/// @param outside null: nothing is counted.
template <typename T>
UnitSums unit_sums(const T* data, const UnitLayout& layout, const Sampling& sampling, const Outside* outside = nullptr);

/// Sums over about `elements` elements in evenly spread runs, always the same ones; over all if they are not many more.
template <typename T>
ElementSums sampled_sums(const T* data, std::int64_t count, std::int64_t elements);

}  // namespace gradhealth::hooks
