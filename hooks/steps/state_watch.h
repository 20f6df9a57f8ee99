#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gradhealth/hooks.h>
#include <gradhealth/run.h>

#include "hooks/capture/watched_parameters.h"

namespace gradhealth::hooks {

/// Looks at what an update uses beside gradients and weights: the optimizer's parameters and moments, and the model's
/// buffers. Nothing of what is on a device: one would have to wait for it.
class StateWatch {
 public:
  enum class Detail : std::uint8_t {
    kSmall,  ///< Buffers of up to 65,536 elements.
    kAll,    ///< All buffers, and the optimizer's moments.
  };

  /// @param optimizer may be null.
  StateWatch(NamedTensors buffers, torch::optim::Optimizer* optimizer);

  /// Before the step's update. Quantities and events, each event once a run.
  void record(const WatchedParameters& parameters, Detail detail, StepRecord& row);

 private:
  struct Buffer {
    std::string name;
    at::Tensor tensor;
    bool seen = false;
    std::int64_t infinities = 0;  ///< That were there from the start: a mask is made of them.
  };

  void record_buffers(Detail detail, StepRecord& row);
  void record_moments(const ParameterList& parameters, StepRecord& row);
  void compare(const WatchedParameters& parameters, StepRecord& row);
  void tell(const std::string& kind, const std::string& subject, const std::string& text, StepRecord& row);

  std::vector<Buffer> buffers_;
  torch::optim::Optimizer* optimizer_;
  std::shared_ptr<const ParameterList> compared_;  ///< With the optimizer, when it held …
  std::size_t compared_size_ = 0;                  ///< … this many tensors.
  std::set<std::string> told_;
};

}  // namespace gradhealth::hooks
