#pragma once

#include <string>

#include <gradhealth/run.h>

namespace gradhealth::rules {

/// One sentence on where the non-finite values of a step began, from its event "nonfinite-origin" (described in
/// run_file/FORMAT.md): " The first non-finite value was made by log after fc4, in the forward pass of step 12, whose
/// input ranged from 0 to 1.5." Empty if the step has no such event, or one that knows no origin.
std::string origin_sentence(const StepRecord& record);

/// That event names an operator that has no finite value, or no finite derivative, for some finite inputs, as log and
/// exp: whatever drove its input there, it is the operator that has to go.
bool made_by_unguarded_operator(const StepRecord& record);

}  // namespace gradhealth::rules
