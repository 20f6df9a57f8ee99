#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <ATen/core/operator_name.h>
#include <c10/util/ArrayRef.h>

#include "hooks/probes/operator_replay.h"
#include "hooks/torch_compat.h"

namespace gradhealth::hooks {

/// The model's two ends in one pass, as a probe needs them; kept only on steps where one is due. Holds memory that the
/// pass holds anyway, and no graph.
struct ProbeEnds {
  std::optional<OperatorReplay> first;  ///< The first operator. Empty for an embedding: `input` is its output.
  at::Tensor input;                     ///< What entered it.
  WeakNode first_node;
  std::uint32_t first_output_nr = 0;
  bool first_repeats = false;  ///< The first layer has been called again: the pass has more inputs than this one.
  at::Tensor output;           ///< Of the last layer so far, …
  int output_call = -1;        ///< … and its call.
  std::int64_t input_version = 0;
  std::int64_t output_version = 0;

  /// At the start of the first layer's operator. @param arguments its whole stack.
  void keep_first(std::string_view op, const c10::OperatorName& name, c10::ArrayRef<const c10::IValue> arguments,
                  const std::function<bool(const at::Tensor&)>& is_parameter);
  /// At its end.
  void keep_first_output(std::string_view op, const at::Tensor& output);
  void keep_output(int call, const at::Tensor& output);
  /// Whether an operator has written to one of the two since.
  bool stale() const;
};

}  // namespace gradhealth::hooks
