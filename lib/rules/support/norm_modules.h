#pragma once

#include <cstddef>
#include <set>
#include <string>

#include <gradhealth/run.h>

namespace gradhealth::rules {

/// The modules that normalise.
class NormModules {
 public:
  /// Takes in new subjects; costs nothing when there are none.
  void update(const Run& run);
  bool contains(const std::string& module) const { return modules_.count(module) > 0; }

 private:
  std::set<std::string> modules_;
  std::size_t activations_ = 0;
};

}  // namespace gradhealth::rules
