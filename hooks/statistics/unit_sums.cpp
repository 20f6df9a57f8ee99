#include "hooks/statistics/unit_sums.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

namespace gradhealth::hooks {
namespace {

constexpr std::int64_t kFewestSamples = 64;  // 20 steps then show each unit more than 1,000 samples.
constexpr std::int64_t kShortestRun = 16;    // Floats of one line of cache, which is fetched as a whole.
constexpr std::int64_t kLongRun = 512;       // Long enough for the processor to fetch ahead.
constexpr std::int64_t kMostShare = 2;       // Scattered reading of more than one half is no faster than reading all.
constexpr std::int64_t kRowsBetweenChecks = 32;

template <typename T>
using Bits =
    std::conditional_t<sizeof(T) == 8, std::uint64_t, std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint16_t>>;

template <typename T>
Bits<T> bits_of(const T& value) {
  Bits<T> bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

/// Whether any of the values whose bits were united is not zero: -0 is zero.
template <typename B>
bool nonzero(B bits) {
  return static_cast<B>(bits << 1) != 0;
}

template <typename T>
bool any_nonzero(const T* data, std::int64_t count) {
  for (std::int64_t begin = 0; begin < count; begin += kShortestRun) {
    const std::int64_t end = std::min(begin + kShortestRun, count);
    Bits<T> united = 0;
#pragma omp simd reduction(| : united)
    for (std::int64_t i = begin; i < end; ++i) united = static_cast<Bits<T>>(united | bits_of(data[i]));
    if (nonzero(united)) return true;
  }
  return false;
}

/// The columns of rows that are not zero throughout.
template <typename T>
class ColumnMarks {
 public:
  explicit ColumnMarks(std::int64_t columns) : united_(static_cast<std::size_t>(columns)) {}

  void add(const T* row) {
    Bits<T>* united = united_.data();
    const auto columns = static_cast<std::int64_t>(united_.size());
#pragma omp simd
    for (std::int64_t i = 0; i < columns; ++i) united[i] = static_cast<Bits<T>>(united[i] | bits_of(row[i]));
  }
  bool complete() const {
    return std::all_of(united_.begin(), united_.end(), [](Bits<T> bits) { return nonzero(bits); });
  }
  void write(std::vector<std::uint8_t>& active) const {
    std::transform(united_.begin(), united_.end(), active.begin(), [](Bits<T> bits) { return nonzero(bits); });
  }

 private:
  std::vector<Bits<T>> united_;
};

float as_float(float value) { return value; }
float as_float(double value) { return static_cast<float>(value); }
float as_float(BFloat16 value) {
  const std::uint32_t bits = static_cast<std::uint32_t>(value.bits) << 16;
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}
/// Normal numbers only: below 6e-5, where none of the bounds is, it is as if they were 0.
float as_float(Half value) {
  const std::uint32_t exponent = (value.bits >> 10) & 0x1f;
  if (exponent == 0) return 0;
  const std::uint32_t bits = (static_cast<std::uint32_t>(value.bits & 0x8000) << 16) |
                             ((exponent == 0x1f ? 0xffu : exponent + 112) << 23) |
                             (static_cast<std::uint32_t>(value.bits & 0x3ff) << 13);
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

template <typename T>
std::int64_t count_outside(const T* data, std::int64_t count, const Outside* outside) {
  if (!outside) return 0;
  const float low = outside->low;
  const float high = outside->high;
  std::int64_t found = 0;
  for (std::int64_t begin = 0; begin < count; begin += 4096) {
    const std::int64_t end = std::min<std::int64_t>(begin + 4096, count);
    std::int32_t here = 0;
#pragma omp simd reduction(+ : here)
    for (std::int64_t i = begin; i < end; ++i) {
      const float value = as_float(data[i]);
      here += static_cast<std::int32_t>(value < low) | static_cast<std::int32_t>(value > high);
    }
    found += here;
  }
  return found;
}

/// Sums over short runs, brought together so that the sums see long ones.
template <typename T>
class RunSums {
 public:
  explicit RunSums(const Outside* outside = nullptr) : counted_(outside) {}

  void add(const T* run, std::int64_t count) {
    if (count > kRoom - used_) flush();
    if (count > kRoom) {
      sums_ += element_sums(run, count);
      outside_ += count_outside(run, count, counted_);
      return;
    }
    std::copy_n(run, count, gathered_.data() + used_);
    used_ += count;
  }
  const ElementSums& finish() {
    flush();
    return sums_;
  }
  std::int64_t outside() const { return outside_; }

 private:
  static constexpr std::int64_t kRoom = 2048;

  void flush() {
    if (used_ > 0) sums_ += element_sums(gathered_.data(), used_);
    outside_ += count_outside(gathered_.data(), used_, counted_);
    used_ = 0;
  }

  std::array<T, kRoom> gathered_;
  std::int64_t used_ = 0;
  ElementSums sums_;
  const Outside* counted_;
  std::int64_t outside_ = 0;
};

/// A place in the `index`-th of `count` equal stretches of 0 … range-1.
std::int64_t place(std::int64_t index, std::int64_t count, std::int64_t range, std::uint64_t phase) {
  const std::int64_t begin = index * range / count;
  const std::int64_t end = (index + 1) * range / count;
  std::uint64_t mixed = (phase << 32) + static_cast<std::uint64_t>(index) + 0x9e3779b97f4a7c15u;  // SplitMix64.
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
  mixed ^= mixed >> 31;
  return begin + static_cast<std::int64_t>(mixed % static_cast<std::uint64_t>(end - begin));
}

/// Counts different samples among indices of `outer` that never decrease.
class SampleCounter {
 public:
  explicit SampleCounter(std::int64_t outer_per_sample) : outer_per_sample_(outer_per_sample) {}

  void see(std::int64_t outer, std::int64_t values) {
    const std::int64_t sample = outer_per_sample_ > 0 ? outer / outer_per_sample_ : -1;
    if (outer_per_sample_ == 0)
      samples_ += values;
    else if (sample != last_)
      ++samples_;
    last_ = sample;
  }
  std::int64_t samples() const { return samples_; }

 private:
  std::int64_t outer_per_sample_;
  std::int64_t last_ = -1;
  std::int64_t samples_ = 0;
};

template <typename T>
void read_all(const T* data, const UnitLayout& layout, const Outside* outside, UnitSums& sums) {
  sums.elements = element_sums(data, layout.count());
  sums.outside = count_outside(data, layout.count(), outside);
  sums.samples = layout.outer_per_sample > 0 ? layout.outer / layout.outer_per_sample : layout.outer * layout.inner;
  if (layout.inner == 1) {
    ColumnMarks<T> marks(layout.units);
    for (std::int64_t row = 0; row < layout.outer; ++row) {
      marks.add(data + row * layout.units);
      if (row % kRowsBetweenChecks == kRowsBetweenChecks - 1 && marks.complete()) break;
    }
    return marks.write(sums.active);
  }
  for (std::int64_t plane = 0; plane < layout.outer * layout.units; ++plane) {
    std::uint8_t& active = sums.active[static_cast<std::size_t>(plane % layout.units)];
    if (active == 0) active = any_nonzero(data + plane * layout.inner, layout.inner);
  }
}

/// Whole rows, each of which has all units; small ones in groups. Returns whether that saves anything.
template <typename T>
bool sample_rows(const T* data, const UnitLayout& layout, const Sampling& sampling, const Outside* outside,
                 UnitSums& sums) {
  const std::int64_t group = std::max<std::int64_t>(1, kShortestRun / layout.units);
  const std::int64_t groups = (layout.outer + group - 1) / group;
  const std::int64_t runs = std::max(kFewestSamples, sampling.elements / (group * layout.units));
  if (runs * group > layout.outer / kMostShare) return false;
  RunSums<T> elements(outside);
  ColumnMarks<T> marks(layout.units);
  SampleCounter samples(layout.outer_per_sample);
  for (std::int64_t run = 0; run < runs; ++run) {
    const std::int64_t row = std::min(place(run, runs, groups, sampling.phase) * group, layout.outer - group);
    elements.add(data + row * layout.units, group * layout.units);
    for (std::int64_t i = 0; i < group; ++i) {
      marks.add(data + (row + i) * layout.units);
      samples.see(row + i, 1);
    }
  }
  sums.elements = elements.finish();
  sums.outside = elements.outside();
  sums.samples = samples.samples();
  marks.write(sums.active);
  return true;
}

/// The same number of runs within the planes of each unit, at different positions for different units.
template <typename T>
bool sample_planes(const T* data, const UnitLayout& layout, const Sampling& sampling, const Outside* outside,
                   UnitSums& sums) {
  const std::int64_t fewest = std::min(kFewestSamples, layout.outer);
  const std::int64_t length =
      std::min(layout.inner, std::max(kShortestRun, sampling.elements / (layout.units * fewest)));
  const std::int64_t runs = std::max(fewest, sampling.elements / (layout.units * length));
  const std::int64_t runs_per_plane = (layout.inner + length - 1) / length;
  if (runs * length * layout.units > layout.count() / kMostShare) return false;
  RunSums<T> elements(outside);
  SampleCounter samples(layout.outer_per_sample);
  for (std::int64_t run = 0; run < runs; ++run) {
    const std::int64_t where = place(run, runs, layout.outer * runs_per_plane, sampling.phase);
    const std::int64_t outer = where / runs_per_plane;
    samples.see(outer, length);
    for (std::int64_t unit = 0; unit < layout.units; ++unit) {
      const std::int64_t slot = (where + unit) % runs_per_plane;
      const std::int64_t begin = runs_per_plane > 1 ? slot * (layout.inner - length) / (runs_per_plane - 1) : 0;
      const T* values = data + (outer * layout.units + unit) * layout.inner + begin;
      elements.add(values, length);
      std::uint8_t& active = sums.active[static_cast<std::size_t>(unit)];
      if (active == 0) active = any_nonzero(values, length);
    }
  }
  sums.elements = elements.finish();
  sums.outside = elements.outside();
  sums.samples = samples.samples();
  return true;
}

}  // namespace

template <typename T>
UnitSums unit_sums(const T* data, const UnitLayout& layout, const Sampling& sampling, const Outside* outside) {
  UnitSums sums;
  sums.total = layout.count();
  sums.active.assign(static_cast<std::size_t>(layout.units), 0);
  if (sums.total == 0) return sums;
  const bool sampled = sampling.elements != Sampling::kEverything && sums.total > sampling.elements &&
                       (layout.inner == 1 ? sample_rows(data, layout, sampling, outside, sums)
                                          : sample_planes(data, layout, sampling, outside, sums));
  if (!sampled) read_all(data, layout, outside, sums);
  return sums;
}

template <typename T>
ElementSums sampled_sums(const T* data, std::int64_t count, std::int64_t elements) {
  const std::int64_t runs = elements / kLongRun;
  if (runs == 0 || elements > count / kMostShare) return element_sums(data, count);
  RunSums<T> sums;
  for (std::int64_t run = 0; run < runs; ++run)
    sums.add(data + place(run, runs, count / kLongRun, 0) * kLongRun, kLongRun);
  return sums.finish();
}

template ElementSums sampled_sums(const float*, std::int64_t, std::int64_t);
template ElementSums sampled_sums(const double*, std::int64_t, std::int64_t);
template ElementSums sampled_sums(const Half*, std::int64_t, std::int64_t);
template ElementSums sampled_sums(const BFloat16*, std::int64_t, std::int64_t);
template UnitSums unit_sums(const float*, const UnitLayout&, const Sampling&, const Outside*);
template UnitSums unit_sums(const double*, const UnitLayout&, const Sampling&, const Outside*);
template UnitSums unit_sums(const Half*, const UnitLayout&, const Sampling&, const Outside*);
template UnitSums unit_sums(const BFloat16*, const UnitLayout&, const Sampling&, const Outside*);

}  // namespace gradhealth::hooks
