#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <c10/util/ArrayRef.h>

#include "hooks/capture/evaluation_passes.h"
#include "hooks/capture/loss_operators.h"
#include "hooks/capture/modes.h"
#include "hooks/capture/operator_details.h"
#include "hooks/statistics/feature_sums.h"

namespace gradhealth::hooks {

/// Where a tensor comes from.
struct TensorOrigin {
  int call = -1;            ///< The recorded call that it was made of; -1: none.
  bool is_output = false;   ///< It is that call's output, in whatever shape.
  std::string produced_by;  ///< The activation function whose output it is, clamped or not; empty if there is none.
  int producer = -1;        ///< The call of that.
  std::int64_t along = -1;  ///< The dimension, if that is a softmax; -1: none, or not known.
  std::vector<std::int64_t> sizes;  ///< Of that call's output, if it is a softmax.
};
using FindOrigin = std::function<TensorOrigin(const at::Tensor&)>;

struct NoteOptions {
  bool exact = true;             ///< Large tensors are read, too.
  bool compares_by_hand = true;  ///< Differences are looked at: they may be losses.
};

/// What one operator's arguments tell beyond which tensors there are.
struct OperatorNotes {
  std::optional<Comparison> comparison;
  std::vector<OperatorPattern> patterns;
  std::optional<Mode> mode;
  OperatorDetail detail;
  std::optional<Saturation> saturation;
  std::int64_t softmax_along = -1;  ///< Its dimension, from 0; -1: it is no softmax.
  bool keeps_values = false;        ///< It only adds next to nothing to its input.
};

/// At the start of an operator that concerns a model. Null for most.
/// @param arguments the operator's own.
std::unique_ptr<OperatorNotes> notes_on(std::string_view op, c10::ArrayRef<const c10::IValue> arguments,
                                        const NoteOptions& options, const FindOrigin& origin_of);

/// What the operators of one step have told. The functions leave out what is too much of a kind.
struct StepFacts {
  std::vector<Comparison> comparisons;
  std::vector<OperatorPattern> patterns;
  std::vector<Mode> modes;
  EvaluationSums evaluation;
  std::vector<TargetSums> given_targets;  ///< By Monitor::target(), …
  std::vector<InputSums> given_inputs;    ///< … and Monitor::input().

  /// Whether there still is room for differences that may turn out to be no loss.
  bool may_compare_by_hand() const;
  /// Takes in a comparison that uses another one's result, if `of` is not -1. @returns its index.
  int add(Comparison&& comparison, int of);
  /// What was made of this comparison is one number; and so of those whose results it uses.
  void reduce(int comparison);
  void add(Mode mode, int call);
  /// @param own_call of the operator, -1 if it is none. @param comparison that it takes part in.
  void add(std::vector<OperatorPattern>&& found, int own_call, int comparison);
  void give(TargetSums&& target);
  void give(InputSums&& input);
};

}  // namespace gradhealth::hooks
