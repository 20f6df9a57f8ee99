#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <c10/util/ArrayRef.h>

#include "hooks/statistics/value_table.h"

namespace gradhealth::hooks {

/// Of a loss's targets, as far as they could be read.
struct TargetSums {
  bool floating = false;
  ValueSums values;
  std::vector<std::int32_t> classes;  ///< One for each target, if they are indices of classes.
};

/// @param ignored a class index that is no target.
/// @param most how many values are read, about.
TargetSums target_sums(const at::Tensor& target, std::optional<std::int64_t> ignored, std::int64_t most);

/// An operator that compares a prediction with targets, tensors that need no gradient.
struct Comparison {
  std::string op;
  std::string prediction;  ///< "64x10:float32".
  std::string target;
  std::string reduction;     ///< Empty: the operator has none.
  std::string produced_by;   ///< The activation function that the prediction left, if one did.
  std::string key;           ///< Of all that does not depend on the size of the batch.
  std::int64_t classes = 0;  ///< That the operator tells apart; 0: it does not.
  int call = -1;             ///< Whose output the prediction is made of.
  bool is_output = false;    ///< The prediction is that output, in whatever shape.
  int of = -1;               ///< The comparison whose result this one takes.
  bool by_hand = false;      ///< An elementwise operator: only a loss if `reduced`.
  bool counts = true;        ///< It says what the loss is.
  bool reduced = false;      ///< What was made of it without a further layer or activation function is one number.
  std::optional<TableSums> prediction_sums;
  std::optional<TargetSums> target_sums;
};

/// How something is computed that is often a mistake.
struct OperatorPattern {
  std::string pattern;  ///< As in FORMAT.md.
  std::string op;
  std::string left;
  std::string right;
  std::string output;
  std::int64_t along = -1;  ///< The dimension that it is about; -1: about none.
  std::string key;          ///< Of all that does not depend on the size of the batch.
  int call = -1;            ///< Whose activation it concerns; the operator's own if `of_output`.
  bool of_output = false;
  bool needs_loss = false;  ///< Counts only if its comparison turns out to be a loss.
  int comparison = -1;      ///< That comparison.
};

/// Which of an operator's arguments are compared; nothing if it is no loss function.
struct ComparedArguments {
  std::size_t prediction = 0;
  std::size_t target = 1;
  bool by_hand = false;
};
/// @param arguments the operator's own.
std::optional<ComparedArguments> compared_arguments(std::string_view op, c10::ArrayRef<const c10::IValue> arguments);

/// Whether `compared_arguments` may have an answer.
bool may_compare(std::string_view op);

/// What the arguments tell, values included where they can be had without waiting for a device.
/// @param most how many values of either tensor are read, about.
Comparison comparison_of(std::string_view op, c10::ArrayRef<const c10::IValue> arguments,
                         const ComparedArguments& compared, std::int64_t most);

/// "broadcast-in-loss", if the two are broadcast to more elements than either has.
std::optional<OperatorPattern> broadcast_of(std::string_view op, const at::Tensor& left, const at::Tensor& right);

/// "softmax-over-one", if the operator is a softmax, or contains one, along a dimension of size 1.
std::optional<OperatorPattern> softmax_over_one(std::string_view op, c10::ArrayRef<const c10::IValue> arguments);

/// A pattern that has to do with one tensor.
OperatorPattern pattern_of(std::string_view pattern, std::string_view op, const at::Tensor& input);

}  // namespace gradhealth::hooks
