#include "hooks/steps/named_values.h"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace gradhealth::hooks {

void NamedValues::record(Run& run, StepRecord& row) {
  for (const auto& [name, value] : values_) {
    std::vector<Subject>& subjects = run.of(Axis::kNamed);
    const auto found =
        std::find_if(subjects.begin(), subjects.end(), [&n = name](const Subject& s) { return s.name == n; });
    const auto index = static_cast<std::size_t>(found - subjects.begin());
    if (found == subjects.end()) subjects.push_back({name, "", "named", "", "float64", 1});
    row.set(Quantity::kNamedValue, index, value);
  }
  values_.clear();
}

}  // namespace gradhealth::hooks
