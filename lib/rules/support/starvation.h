#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <gradhealth/run.h>

#include "rules/support/layers.h"
#include "rules/support/loss_track.h"
#include "stats/window.h"

namespace gradhealth::rules {

/// Whether the first layers are starved of gradient while the loss stands still: what vanishing gradients,
/// wherever they come from, do to a run.
class Starvation {
 public:
  struct Limits {
    double last_ratio = 0;    ///< First layer's relative gradient over the last layer's, below which it starves …
    double median_ratio = 0;  ///< … if it is also below this share of the median layer's.
    double steps = 0;         ///< Recorded steps over which the median is taken.
  };
  explicit Starvation(const Limits& limits);

  void observe(const Run& run, const StepRecord& record);

  std::size_t layers() const { return profile_.layers; }  ///< With a gradient at the last step.
  std::size_t steps() const { return steps_; }            ///< With at least three such layers, outside warm-up.
  const Layers& model() const { return layers_; }
  const LossTrack& loss() const { return loss_; }
  double last_limit() const { return limits_.last_ratio; }
  double last_ratio() const { return last_.median(); }
  double median_ratio() const { return median_.median(); }
  /// The weights of the first layer are at this parameter; of the last one at that.
  std::size_t first_parameter() const { return first_parameter_; }
  std::size_t last_parameter() const { return last_parameter_; }
  /// Since when, if the first layer starves persistently, now.
  std::optional<std::int64_t> since() const;
  bool starves() const { return since().has_value() && loss_.makes_no_progress(); }

 private:
  Limits limits_;
  Layers layers_;
  LossTrack loss_;
  DepthProfile profile_;
  stats::Window last_;
  stats::Window median_;
  std::vector<double> scratch_;
  std::size_t steps_ = 0;
  std::size_t first_parameter_ = 0;
  std::size_t last_parameter_ = 0;
  std::optional<double> rate_;
  std::optional<std::int64_t> since_;
};

}  // namespace gradhealth::rules
