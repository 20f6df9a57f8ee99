#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <gradhealth/run.h>

#include "hooks/capture/element_sample.h"
#include "hooks/capture/watched_parameters.h"
#include "hooks/statistics/device_sums.h"

namespace gradhealth::hooks {

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
    std::optional<std::uint64_t> checksum;  ///< Of the weight, where its sample may miss a change.
    ElementSample sample;
    ElementSample
        gradient_sample;  ///< At the same places; empty where it is on a device, sparse or laid out otherwise.
    std::optional<double> row_spread;  ///< Of a weight that was read whole.
    std::optional<double> unchanged;
    std::optional<double> update_ratio;
    std::optional<Late> before;
    std::optional<Late> after;
  };
  std::vector<One> all;
  Alignment descent;  ///< Of the update with the negative gradient.
};

/// Reads the parameters and their gradients into the rows of a run.
class ParameterRecorder {
 public:
  enum class Fingerprints : std::uint8_t { kNone, kTaken };
  ParameterRecorder(const WatchedParameters& parameters, Run& run, Fingerprints fingerprints = Fingerprints::kNone);

  /// Makes subjects of the parameters that have been added since.
  void announce(Run& run);
  /// How weights on the CPU are read. Gradients are read whole in any case.
  enum class Weights : std::uint8_t {
    kWhole,
    kSampled,  ///< kSampledElements of those that have many more, whole if one of the step's gradients is not finite.
  };

  /// Gradients and weights, in one pass over each tensor; remembers weights to tell the update.
  void read(ParameterReadings& readings, Weights weights, Readback& readback);
  /// Gradient and weight quantities. @pre the readback given to `read` is ready.
  void record(ParameterReadings& readings, const Readback& readback, StepRecord& row);
  /// The effect of the update that followed `read`, from the weights as they are now.
  void read_update(ParameterReadings& readings, Readback& readback);
  /// @pre the readback given to `read_update` is ready, and `record` has been called.
  void record_update(const ParameterReadings& readings, const Readback& readback, StepRecord& row) const;

  /// Whether the gradient that is looked at next between recorded steps, a different parameter's each time, is on a
  /// device. Those on the CPU have their vital signs (vital_signs.h).
  bool gradient_sample_is_late() const;
  /// The largest magnitude of a few of its elements, not finite if one of them is not. Empty if it is on no device.
  ReadbackSlot late_gradient_sample(Readback& readback);
  /// Name and device of the first parameter on a device that is not known here; empty if there is none.
  std::string foreign_device() const;

 private:
  void note_frozen(std::size_t index, StepRecord& row);
  void record_alignment(const ParameterReadings& readings, StepRecord& row);
  void read_gradients(ParameterReadings& readings, Readback& readback) const;
  ReadbackSlot late_sample(const at::Tensor& weight, Readback& readback);
  const at::Tensor& places(const at::Tensor& weight);

  const WatchedParameters& parameters_;
  Fingerprints fingerprints_;
  std::vector<ElementSample> previous_gradients_;  ///< By parameter, of the recorded step before.
  ElementSample now_;                              ///< Of the weight in question.
  std::vector<bool> frozen_;                       ///< By parameter, at the last recorded step.
  std::vector<bool> silent_;                       ///< By parameter: the sample of its latest update showed no change.
  /// Indices of the sampled elements, on the device, by number of elements and stream.
  std::map<std::tuple<std::int64_t, c10::DeviceType, c10::DeviceIndex, c10::StreamId>, at::Tensor> places_;
  std::size_t next_sampled_ = 0;
};

}  // namespace gradhealth::hooks
