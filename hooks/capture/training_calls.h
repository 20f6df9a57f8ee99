#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "hooks/capture/activation_call.h"

namespace gradhealth::hooks {

/// Which of a step's calls belong to its training, and their names.
class TrainingCalls {
 public:
  explicit TrainingCalls(const std::vector<ActivationCall>& calls);

  bool has(int call) const;
  bool has(std::size_t call) const { return wanted_[call]; }
  /// "conv1", "conv1:relu", "conv1#1" for the second call in a pass. Empty for a call that does not belong.
  const std::string& name(std::size_t call) const { return names_[call]; }

 private:
  std::vector<bool> wanted_;
  std::vector<std::string> names_;
};

}  // namespace gradhealth::hooks
