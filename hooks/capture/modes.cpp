#include "hooks/capture/modes.h"

#include <algorithm>
#include <array>

namespace gradhealth::hooks {
namespace {

struct ModeArgument {
  std::string_view op;
  Mode::Kind kind;
  std::size_t training;     ///< Which argument says so.
  std::size_t probability;  ///< Of a dropout.
};

constexpr auto kNorm = Mode::Kind::kNorm;
constexpr auto kDropout = Mode::Kind::kDropout;

constexpr std::array<ModeArgument, 13> kArguments{{{"_batch_norm_impl_index", kNorm, 5, 0},
                                                   {"alpha_dropout", kDropout, 2, 1},
                                                   {"batch_norm", kNorm, 5, 0},
                                                   {"cudnn_batch_norm", kNorm, 5, 0},
                                                   {"dropout", kDropout, 2, 1},
                                                   {"feature_alpha_dropout", kDropout, 2, 1},
                                                   {"feature_dropout", kDropout, 2, 1},
                                                   {"gru", kDropout, 6, 5},
                                                   {"instance_norm", kNorm, 5, 0},
                                                   {"lstm", kDropout, 6, 5},
                                                   {"miopen_batch_norm", kNorm, 5, 0},
                                                   {"native_batch_norm", kNorm, 5, 0},
                                                   {"native_dropout", kDropout, 2, 1}}};

const ModeArgument* argument_of(std::string_view op) {
  const auto found =
      std::lower_bound(kArguments.begin(), kArguments.end(), op,
                       [](const ModeArgument& argument, std::string_view name) { return argument.op < name; });
  return found != kArguments.end() && found->op == op ? &*found : nullptr;
}

}  // namespace

bool may_have_mode(std::string_view op) { return argument_of(op) != nullptr; }

std::optional<Mode> mode_of(std::string_view op, c10::ArrayRef<const c10::IValue> arguments) {
  const ModeArgument* argument = argument_of(op);
  if (!argument || argument->training >= arguments.size() || !arguments[argument->training].isBool())
    return std::nullopt;
  Mode mode;
  mode.kind = argument->kind;
  mode.training = arguments[argument->training].toBool();
  if (mode.kind == kNorm) return mode;
  const c10::IValue& probability = arguments[argument->probability];
  if (!probability.isDouble() || probability.toDouble() <= 0) return std::nullopt;
  return mode;
}

}  // namespace gradhealth::hooks
