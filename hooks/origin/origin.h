#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gradhealth/run.h>

#include "hooks/statistics/tensor_extremes.h"

namespace gradhealth::hooks {

/// How an operator relates to the module it is told with.
enum class Place : std::uint8_t {
  kUnknown,
  kIn,     ///< It computes with the module's own parameters.
  kAfter,  ///< It works on what came out of the module.
};

/// One operator, forward or backward, and the extremes of what entered and left it.
struct OperatorRecord {
  std::string op;  ///< "log"; in-place variants lose their underscore.
  Place place = Place::kUnknown;
  std::string module;
  std::vector<TensorExtremes> inputs;   ///< A few, with any bad ones. Backward: gradients of its outputs.
  std::vector<TensorExtremes> outputs;  ///< The same. Backward: gradients of its inputs.
  int origin_in = -1;                   ///< Forward: the origin of what was bad among its inputs.
  int origin_out = -1;                  ///< Forward: the origin of what was bad among its outputs.
};

inline constexpr std::size_t kMostTensors = 3;
/// How many operators before an origin are kept.
inline constexpr std::size_t kFlightRing = 8;

/// Where non-finite values began.
struct Origin {
  enum class Source : std::uint8_t {
    kOperator,   ///< Finite values entered it, others left it.
    kInput,      ///< A tensor that came from outside.
    kParameter,  ///< It was not finite before the step.
    kBuffer,     ///< The same of a buffer, such as a running variance.
    kUnknown,
  };
  Source source = Source::kUnknown;
  std::string name;  ///< Of the parameter or buffer; of an input: its feature, if it enters a layer.
  std::shared_ptr<const OperatorRecord> at;       ///< The operator, or the first one that met the values.
  std::shared_ptr<const OperatorRecord> forward;  ///< In the backward pass: the operator's forward.
  std::string node;                               ///< In the backward pass: "SqrtBackward0".
  std::int64_t sample = -1;                       ///< Of an input: first bad sample, and the value in it.
  std::int64_t position = -1;
  bool deliberate = false;  ///< Infinities that were put there, as masks are, rather than computed.
  std::shared_ptr<const OperatorRecord> turned_nan;           ///< The operator that made NaN of the infinities.
  std::vector<std::shared_ptr<const OperatorRecord>> before;  ///< The last operators before, the nearest one last.
  int more_parameters = 0;  ///< Further parameters that were not finite before the step.
};

/// How the answer was found, which is how sure it is.
struct Circumstances {
  std::int64_t step = 0;
  enum class How : std::uint8_t {
    kTraced,    ///< The very step with the first non-finite loss or gradient was traced.
    kReplayed,  ///< That step was computed a second time.
    kLate,      ///< Traced only after such a step: `since` is the first one known.
  } how = How::kTraced;
  std::int64_t since = 0;
};

/// One event "nonfinite-origin" and up to kFlightRing events "flight-recorder". lib/run_file/FORMAT.md describes them.
std::vector<Event> events_of(const Origin& origin, const Circumstances& circumstances);

}  // namespace gradhealth::hooks
