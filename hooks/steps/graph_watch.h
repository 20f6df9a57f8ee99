#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <vector>

#include "hooks/capture/activation_call.h"
#include "hooks/torch_compat.h"

namespace gradhealth::hooks {

/// Which of the last recorded steps' autograd graphs something still holds. Weakly: it holds none itself.
class GraphWatch {
 public:
  /// Graphs of the steps before that are alive, up to the last 20, without the last two: those live until the trainer's
  /// variables get other values. Nothing before there is a step old enough. Then takes in this step's calls.
  std::optional<int> observe(const std::vector<ActivationCall>& calls);

 private:
  std::deque<WeakNode> graphs_;  ///< Each step's last activation, the latest step last.
};

}  // namespace gradhealth::hooks
