#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include <gradhealth/run.h>

#include "rules/support/operators.h"

namespace gradhealth::rules {

/// Which activation functions lie between two layers, as far as names, order and widths tell.
class HiddenActivations {
 public:
  /// Takes in new subjects; costs nothing when there are none.
  void update(const Run& run);

  /// Something comes after it that takes as many features, it is as wide as the output of the layer in front of it,
  /// and that layer is no recurrent one.
  bool is_hidden(std::size_t activation) const { return activation < hidden_.size() && hidden_[activation]; }
  /// Output of the layer in front of it.
  std::optional<Subject> own_output(std::size_t activation) const;

 private:
  std::vector<Subject> activations_;
  std::vector<bool> hidden_;
  std::size_t parameters_ = 0;
};

}  // namespace gradhealth::rules
