#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gradhealth/run.h>

#include "hooks/capture/watched_parameters.h"

namespace torch::nn {
class Module;
}

namespace gradhealth::hooks {

/// A leaf with requires_grad that an operator combines with the model's activations although it is none of the model's
/// parameters: replaced or added after the monitor was attached, never registered, or another model's.
struct Stranger {
  std::string op;
  std::string shape;
  std::string behind;    ///< Module whose output it was applied to.
  bool inside = false;   ///< What was made of it went on into a layer of the model.
  std::string replaces;  ///< The one parameter of the same shape that the step did not use; empty if there is none.
};

/// Finds out what strangers are, as far as possible by asking the model again.
class StrangerWatch {
 public:
  /// @param module expired or empty where there is none, or none that can be asked safely.
  explicit StrangerWatch(std::weak_ptr<torch::nn::Module> module);

  /// Lets `parameters` adopt what the model has registered since. Returns events, each once a run: "added-parameter",
  /// "replaced-parameter", "unregistered-parameter".
  std::vector<Event> meet(const std::vector<Stranger>& strangers, std::int64_t step, WatchedParameters& parameters);

 private:
  std::weak_ptr<torch::nn::Module> module_;
  std::set<std::string> met_;
};

}  // namespace gradhealth::hooks
