#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <gradhealth/run.h>

#include "hooks/capture/watched_parameters.h"

namespace gradhealth::hooks {

/// Looks at the gradients between recorded steps, at a cost of a microsecond or two: eight elements of each of up to 16
/// parameters, other ones at the next step. Only decides what is recorded; the rules judge.
class VitalSigns {
 public:
  explicit VitalSigns(const WatchedParameters& parameters) : parameters_(parameters) {}

  /// Whether an element looked at is not finite, or most of the parameters looked at have gradients far above their own
  /// history.
  bool suspicious();

 private:
  struct History {
    double mean_square = 0;
    std::int64_t looks = 0;
  };

  const WatchedParameters& parameters_;
  std::vector<History> histories_;
  std::size_t next_ = 0;
  std::uint64_t calls_ = 0;
};

/// Whether a gradient or a weight of a recorded step is not finite. Activations may be: masks are made of infinities,
/// and where one matters, it shows in the loss.
bool has_nonfinite(const StepRecord& row);

}  // namespace gradhealth::hooks
