#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <gradhealth/run.h>

namespace gradhealth::rules {

/// One event "operator-pattern" (run_file/FORMAT.md).
struct OperatorPattern {
  std::string name;  ///< "broadcast-in-loss".
  std::string op;
  std::string subject;  ///< The activation.
  std::vector<std::int64_t> left;
  std::vector<std::int64_t> right;
  std::vector<std::int64_t> output;
  std::int64_t along = -1;  ///< Dimension; -1: the pattern is about none.
  std::int64_t step = 0;
};

/// Those of one name among a record's events, each subject and operator once, are appended (up to 16).
void take_patterns(std::vector<OperatorPattern>& patterns, const std::string& name, const StepRecord& record);

}  // namespace gradhealth::rules
