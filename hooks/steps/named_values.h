#pragma once

#include <map>
#include <string>

#include <gradhealth/run.h>

namespace gradhealth::hooks {

/// Numbers that the trainer records under names of its own, until a row takes them.
class NamedValues {
 public:
  void set(const std::string& name, double value) { values_[name] = value; }
  bool empty() const { return values_.empty(); }
  /// Moves them into the row; new names become subjects of the run.
  void record(Run& run, StepRecord& row);

 private:
  std::map<std::string, double> values_;
};

}  // namespace gradhealth::hooks
