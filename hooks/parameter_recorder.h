#pragma once

#include <cstddef>
#include <vector>

#include <gradhealth/run.h>

#include "hooks/watched_parameters.h"

namespace gradhealth::hooks {

/// Elements of one parameter at fixed places: all of a small one, 32 evenly spaced runs of 32 elements of a larger one.
/// The norm of an update estimated from 1,024 elements has a relative standard error of about 3 % where the elements'
/// changes are of similar size, more where few elements change much.
class ElementSample {
 public:
  /// Copies the elements as they are now.
  void take(const at::Tensor& parameter);
  bool taken() const { return !values_.empty(); }
  /// ‖θ_now − θ_then‖ / ‖θ_then‖ over the sampled elements; 0 exactly if none has changed.
  double change_ratio(const at::Tensor& parameter) const;

 private:
  std::vector<double> values_;
};

/// Reads the parameters and their gradients into the rows of a run.
class ParameterRecorder {
 public:
  ParameterRecorder(const WatchedParameters& parameters, Run& run);

  /// Makes subjects of the parameters that have been added since.
  void announce(Run& run);
  /// Gradient and weight quantities, in one pass over each tensor; remembers weights to tell the update.
  void record(StepRecord& row);
  /// The effect of the update that followed the last `record`, from the weights as they are now.
  void record_update(StepRecord& row) const;
  /// Whether a few elements of one gradient, a different parameter at each call, are all finite.
  bool gradient_sample_is_finite();
  /// Name and device of the first parameter that is not on the CPU; empty if all are.
  std::string foreign_device() const;

 private:
  struct Seen {
    ElementSample sample;
    double sum = 0;
    double sum_squares = 0;
    bool frozen = false;
  };

  const WatchedParameters& parameters_;
  std::vector<Seen> seen_;
  std::size_t next_sampled_ = 0;
};

}  // namespace gradhealth::hooks
