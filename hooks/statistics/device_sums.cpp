#include "hooks/statistics/device_sums.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace gradhealth::hooks {
namespace {

constexpr std::int64_t kPiece = std::int64_t{1} << 21;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Our operators are neither differentiated, nor observed, nor cast by autocast.
struct Quiet {
  at::NoGradGuard no_grad;
  at::DisableRecordFunctionGuard no_record;
  c10::impl::ExcludeDispatchKeyGuard no_autocast{c10::autocast_dispatch_keyset};
};

// One row of a piece's results.
enum Column : std::int64_t { kSum, kNorm, kNonfinite, kMax, kNonzeros, kColumns };

std::int64_t columns_of(Detail detail) { return detail == Detail::kAll ? kColumns : kMax; }

/// Every element once, in memory order. Copies only tensors with gaps between their elements.
at::Tensor as_line(const at::Tensor& tensor) {
  if (!tensor.is_contiguous() && tensor.is_non_overlapping_and_dense()) return tensor.as_strided({tensor.numel()}, {1});
  return tensor.reshape({-1});
}

/// How many elements are not zero (NaN is not), over `dims` or over all: LibTorch's norm of order 0.
void count_nonzeros(at::Tensor out, const at::Tensor& values, at::OptionalIntArrayRef dims = {}) {
  at::linalg_vector_norm_out(out, values, 0, dims, /*keepdim=*/false, out.scalar_type());
}

void sum_piece(const at::Tensor& piece, Detail detail, const at::Tensor& row) {
  const at::Tensor values = piece.to(at::kDouble);
  const auto out = [&row](Column column) { return row.select(0, column); };
  at::Tensor sum = out(kSum);
  at::Tensor norm = out(kNorm);
  at::sum_out(sum, values, at::IntArrayRef{0});
  at::linalg_vector_norm_out(norm, values, 2);
  // x - x is 0 for every number, and NaN for what is none.
  count_nonzeros(out(kNonfinite), values - values);
  if (detail == Detail::kSums) return;
  count_nonzeros(out(kNonzeros), values);
  at::Tensor max = out(kMax);
  at::linalg_vector_norm_out(max, at::nan_to_num(values, 0.0, kInfinity, -kInfinity), kInfinity);
}

std::vector<FeatureBlock> pieces_of(const FeatureBlock& whole, std::int64_t features) {
  const std::int64_t rows = std::clamp<std::int64_t>(kPiece / (features * whole.positions), 1, whole.rows);
  const std::int64_t positions = std::clamp<std::int64_t>(kPiece / features, 1, whole.positions);
  std::vector<FeatureBlock> pieces;
  for (std::int64_t row = 0; row < whole.rows; row += rows)
    for (std::int64_t position = 0; position < whole.positions; position += positions)
      pieces.push_back(
          {row, std::min(rows, whole.rows - row), position, std::min(positions, whole.positions - position), {}});
  return pieces;
}

// What is had of each feature of a block; the position of the first value that is no number follows.
enum FeatureRow : std::int64_t {
  kFeatureSum,
  kFeatureNorm,
  kFeatureMin,
  kFeatureMax,
  kBadValues,
  kFractions,
  kFeatureRows
};

at::Tensor feature_results(const at::Tensor& block) {
  constexpr std::array<std::int64_t, 2> kSamples{0, 2};
  const std::int64_t features = block.size(1);
  const at::Tensor results = at::empty({kFeatureRows * features + 1}, block.options().dtype(at::kDouble));
  const auto out = [&](FeatureRow row) { return results.narrow(0, row * features, features); };
  const at::Tensor values = block.to(at::kFloat).to(at::kDouble);
  const at::Tensor bad = values - values;
  const at::Tensor clean = at::nan_to_num(values, 0.0, 0.0, 0.0);
  at::Tensor sum = out(kFeatureSum);
  at::Tensor norm = out(kFeatureNorm);
  at::Tensor min = out(kFeatureMin);
  at::Tensor max = out(kFeatureMax);
  at::sum_out(sum, clean, at::IntArrayRef(kSamples));
  at::linalg_vector_norm_out(norm, clean, 2, at::IntArrayRef(kSamples));
  at::amin_out(min, at::nan_to_num(values, kInfinity, kInfinity, kInfinity), kSamples);
  at::amax_out(max, at::nan_to_num(values, -kInfinity, -kInfinity, -kInfinity), kSamples);
  count_nonzeros(out(kBadValues), bad, at::IntArrayRef(kSamples));
  count_nonzeros(out(kFractions), clean - clean.trunc(), at::IntArrayRef(kSamples));
  results.narrow(0, kFeatureRows * features, 1).copy_(bad.ne(0).to(at::kByte).reshape({-1}).argmax());
  return results;
}

/// Adds a block's results; `InputSums::bad_sample` becomes the first of all blocks.
void add_block(const std::vector<double>& results, const FeatureBlock& block, std::int64_t whole_positions,
               InputSums& sums) {
  const std::size_t features = sums.features.size();
  FeatureSums added(features);
  std::int64_t bad_values = 0;
  for (std::size_t i = 0; i < features; ++i) {
    const auto result = [&](FeatureRow row) { return results[static_cast<std::size_t>(row) * features + i]; };
    added.sum[i] = result(kFeatureSum);
    added.sum_squares[i] = result(kFeatureNorm) * result(kFeatureNorm);
    added.min[i] = result(kFeatureMin);
    added.max[i] = result(kFeatureMax);
    added.nonfinite[i] = std::llround(result(kBadValues));
    added.finite[i] = block.rows * block.positions - added.nonfinite[i];
    added.integers[i] = added.finite[i] - std::llround(result(kFractions));
    bad_values += added.nonfinite[i];
  }
  sums.features += added;
  if (bad_values == 0) return;
  const std::int64_t first = std::llround(results.back());
  const std::int64_t line = first / block.positions;  // Of the block's rows × features lines.
  const auto feature_count = static_cast<std::int64_t>(features);
  const std::int64_t row = block.row + line / feature_count;
  const std::int64_t place = (row * feature_count + line % feature_count) * whole_positions + block.position +
                             first % block.positions;  // In the whole input.
  const std::int64_t sample = place / sums.values_per_sample;
  const std::int64_t feature = place % sums.values_per_sample;
  if (sums.bad_sample >= 0 && std::make_pair(sums.bad_sample, sums.bad_feature) < std::make_pair(sample, feature))
    return;
  sums.bad_sample = sample;
  sums.bad_feature = feature;
}

ElementSums sums_from(const std::vector<double>& results, std::int64_t count, Detail detail) {
  ElementSums sums;
  sums.count = count;
  std::int64_t nonzeros = 0;
  const auto columns = static_cast<std::size_t>(columns_of(detail));
  for (std::size_t row = 0; row < results.size(); row += columns) {
    const double* values = results.data() + row;
    sums.sum += values[kSum];
    sums.sum_squares += values[kNorm] * values[kNorm];
    sums.nonfinite += std::llround(values[kNonfinite]);
    if (detail == Detail::kSums) continue;
    sums.max_abs = std::max(sums.max_abs, values[kMax]);
    nonzeros += std::llround(values[kNonzeros]);
  }
  if (detail == Detail::kAll) sums.zeros = count - nonzeros;
  return sums;
}

}  // namespace

LateSums late_sums(const at::Tensor& tensor, Detail detail, Readback& readback) {
  LateSums late{{}, tensor.numel(), detail};
  if (late.count == 0) return late;
  const Quiet quiet;
  const at::Tensor line = as_line(tensor);
  const std::int64_t pieces = (late.count + kPiece - 1) / kPiece;
  const at::Tensor results = at::empty({pieces, columns_of(detail)}, line.options().dtype(at::kDouble));
  for (std::int64_t i = 0; i < pieces; ++i)
    sum_piece(line.narrow(0, i * kPiece, std::min(kPiece, late.count - i * kPiece)), detail, results.select(0, i));
  late.slot = readback.add(results);
  return late;
}

ElementSums sums_of(const LateSums& late, const Readback& readback) {
  return sums_from(readback.values(late.slot), late.count, late.detail);
}

ActivationSums late_activation_sums(const at::Tensor& tensor, Units units, Readback& readback) {
  ActivationSums sums;
  const bool channels_first = units == Units::kChannels && tensor.dim() >= 3;
  const std::int64_t unit_dimension = channels_first ? 1 : tensor.dim() - 1;
  const std::int64_t unit_count = tensor.size(unit_dimension);
  sums.active.assign(static_cast<std::size_t>(unit_count), 0);
  sums.samples = channels_first || unit_count == 0 ? tensor.size(0) : tensor.numel() / unit_count;
  sums.elements.count = sums.total = tensor.numel();
  if (tensor.numel() == 0) return sums;
  sums.late_elements = late_sums(tensor, Detail::kAll, readback).slot;
  const Quiet quiet;
  const at::Tensor values = tensor.dim() == 1 ? tensor.unsqueeze(0) : tensor;
  std::vector<std::int64_t> others;
  for (std::int64_t d = 0; d < values.dim(); ++d)
    if (d != values.dim() - tensor.dim() + unit_dimension) others.push_back(d);
  // In float if need be: a count may be rounded, but not to zero.
  const at::ScalarType type = tensor.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor counts = at::empty({unit_count}, tensor.options().dtype(type));
  count_nonzeros(counts, values, at::IntArrayRef(others));
  sums.late_units = readback.add(counts);
  return sums;
}

void complete(ActivationSums& sums, const Readback& readback) {
  if (sums.late_elements.filled())
    sums.elements = sums_from(readback.values(sums.late_elements), sums.elements.count, Detail::kAll);
  if (sums.late_units.filled()) {
    const std::vector<double> counts = readback.values(sums.late_units);
    std::transform(counts.begin(), counts.end(), sums.active.begin(),
                   [](double n) { return static_cast<std::uint8_t>(n > 0); });
  }
  sums.late_elements = sums.late_units = {};
}

InputSums late_input_sums(const at::Tensor& input, Units units, std::string kind, Readback& readback,
                          InputValues kept) {
  InputSums sums = describe_input(input, units, std::move(kind));
  if (sums.whole.rows == 0) return sums;
  const Quiet quiet;
  const auto features = static_cast<std::int64_t>(sums.features.size());
  const at::Tensor view = input.reshape({sums.whole.rows, features, sums.whole.positions});
  sums.late = pieces_of(sums.whole, features);
  for (FeatureBlock& block : sums.late)
    block.late =
        readback.add(feature_results(view.narrow(0, block.row, block.rows).narrow(2, block.position, block.positions)));
  if (kept == InputValues::kSampled) sums.sample = late_sample_of(input, sums.values_per_sample, readback);
  return sums;
}

void complete(InputSums& sums, const Readback& readback) {
  for (const FeatureBlock& block : sums.late)
    if (block.late.filled()) add_block(readback.values(block.late), block, sums.whole.positions, sums);
  sums.late.clear();
  if (sums.sample.late.filled()) complete(sums.sample, readback);
}

ReadbackSlot late_values(const at::Tensor& tensor, Readback& readback) {
  const Quiet quiet;
  const bool as_it_is = tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble;
  const bool reduced = tensor.scalar_type() == at::kHalf || tensor.scalar_type() == at::kBFloat16;
  return readback.add(as_it_is ? tensor : tensor.to(reduced ? at::kFloat : at::kDouble));
}

}  // namespace gradhealth::hooks
