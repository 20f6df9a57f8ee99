#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <ATen/core/ivalue.h>
#include <c10/util/ArrayRef.h>

namespace gradhealth::hooks {

/// How an operator ran that does something else in training than in evaluation: from its own arguments, whatever the
/// module's flag says.
struct Mode {
  enum class Kind : std::uint8_t { kNorm, kDropout } kind = Kind::kNorm;
  bool training = false;
  int call = -1;  ///< The recorded call that it is, or was applied to.
};

/// @param arguments the operator's own. Nothing for other operators, and for dropouts of probability 0: they do the
/// same in either mode.
std::optional<Mode> mode_of(std::string_view op, c10::ArrayRef<const c10::IValue> arguments);

/// Whether `mode_of` may have an answer.
bool may_have_mode(std::string_view op);

}  // namespace gradhealth::hooks
