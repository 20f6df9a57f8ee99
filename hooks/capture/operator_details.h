#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <ATen/core/ivalue.h>
#include <c10/util/ArrayRef.h>

#include "hooks/statistics/unit_sums.h"

namespace gradhealth::hooks {

/// What some operators show beside the values of their outputs; sums over micro-batches.
struct OperatorDetail {
  std::int64_t saturated = 0;  ///< Elements of the output.
  double saturable = 0;        ///< Elements, or distributions, that may have been.
  double logit_variances = 0;  ///< Of what entered a softmax, within each distribution.
  std::int64_t distributions = 0;
  double statistics_gap = 0;  ///< Mean over the channels, summed over the calls.
  std::int64_t gaps = 0;
  std::int64_t logits = 0;
  std::int64_t masked = 0;   ///< Logits that cannot be chosen.
  std::int64_t indices = 0;  ///< Looked up in an embedding that has an index for padding.
  std::int64_t padding = 0;  ///< Those that are it.

  OperatorDetail& operator+=(const OperatorDetail& other);
};

/// Where a saturating operator's output lies if it is saturated.
struct Saturation {
  Outside outside;
  double elements_per_case = 1;  ///< One element of a distribution at most is saturated.
};

/// @param arguments the operator's own. Nothing for operators that do not saturate.
std::optional<Saturation> saturation_of(std::string_view op, c10::ArrayRef<const c10::IValue> arguments);

/// The dimension of a softmax or its logarithm, from 0; -1: it cannot be told, or is none.
/// @param arguments the operator's own.
std::int64_t softmax_dimension(std::string_view op, c10::ArrayRef<const c10::IValue> arguments);

/// Whether detail_before may find anything.
bool has_detail(std::string_view op);

/// From what enters the operator: a softmax's logits, in whole distributions, evenly spaced ones of a large input; the
/// gap between a batch normalisation's running statistics and the batch's, at evenly spaced positions of a large one;
/// the padding among an embedding's indices. Nothing of what is on a device.
/// @param exact of inputs of more than kSampledElements, that many of their elements are read instead of a quarter.
OperatorDetail detail_before(std::string_view op, c10::ArrayRef<const c10::IValue> arguments, bool exact);

}  // namespace gradhealth::hooks
