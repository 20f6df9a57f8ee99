#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <gradhealth/run.h>

#include "hooks/device_sums.h"
#include "hooks/watched_parameters.h"

namespace gradhealth::hooks {

/// Elements of one parameter at fixed places: all of a small one, 32 evenly spaced runs of 32 elements of a larger one.
/// The norm of an update estimated from 1,024 elements has a relative standard error of about 3 % where the elements'
/// changes are of similar size, more where few elements change much.
class ElementSample {
 public:
  /// Copies the elements as they are now.
  void take(const at::Tensor& parameter);
  void take(const std::vector<double>& values) { values_ = values; }
  void clear() { values_.clear(); }
  bool taken() const { return !values_.empty(); }
  /// ‖θ_now − θ_then‖ / ‖θ_then‖ over the sampled elements; 0 exactly if none has changed.
  double change_ratio(const at::Tensor& parameter) const;
  double change_ratio(const std::vector<double>& now) const;

 private:
  std::vector<double> values_;
};

/// What one step has shown of the parameters. The numbers of those on a device are on their way.
struct ParameterReadings {
  /// A parameter on a device, at the step or after its update.
  struct Late {
    LateSums sums;
    ReadbackSlot sample;
  };
  struct One {
    std::optional<ElementSums> gradient;
    std::optional<LateSums> late_gradient;
    std::optional<ElementSums> weight;
    ElementSample sample;
    std::optional<double> update_ratio;
    std::optional<Late> before;
    std::optional<Late> after;
  };
  std::vector<One> all;
};

/// Reads the parameters and their gradients into the rows of a run.
class ParameterRecorder {
 public:
  ParameterRecorder(const WatchedParameters& parameters, Run& run);

  /// Gradients and weights, in one pass over each tensor; remembers weights to tell the update.
  void read(ParameterReadings& readings, Readback& readback);
  /// Gradient and weight quantities. @pre the readback given to `read` is ready.
  void record(ParameterReadings& readings, const Readback& readback, StepRecord& row) const;
  /// The effect of the update that followed `read`, from the weights as they are now.
  void read_update(ParameterReadings& readings, Readback& readback);
  /// @pre the readback given to `read_update` is ready, and `record` has been called.
  void record_update(const ParameterReadings& readings, const Readback& readback, StepRecord& row) const;

  /// Whether a few elements of one gradient, a different parameter at each call, are all finite; true if they are on a
  /// device: `late_gradient_sample` then has them read.
  bool gradient_sample_is_finite();
  /// Their largest magnitude, not finite if one of them is not. An empty slot if they are not on a device.
  ReadbackSlot late_gradient_sample(Readback& readback) const;
  /// Whether the gradient that was looked at last is on a device.
  bool gradient_sample_is_late() const;
  /// Name and device of the first parameter on a device that is not known here; empty if there is none.
  std::string foreign_device() const;

 private:
  ReadbackSlot late_sample(const at::Tensor& weight, Readback& readback);
  const at::Tensor& places(const at::Tensor& weight);

  const WatchedParameters& parameters_;
  /// Indices of the sampled elements, on the device, by number of elements and stream.
  std::map<std::tuple<std::int64_t, c10::DeviceType, c10::DeviceIndex, c10::StreamId>, at::Tensor> places_;
  std::size_t next_sampled_ = 0;
};

}  // namespace gradhealth::hooks
