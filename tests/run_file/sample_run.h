#pragma once

#include <cstdint>

#include <gradhealth/run.h>

namespace gradhealth::test {

/// A run of three parameters, two activations and one input channel, which shows up with the first row.
Run sample_run();

/// Row `step` of it: values that follow from the step and the subject, some missing, some not finite.
StepRecord sample_row(const Run& run, std::int64_t step);

/// Whether two records say the same; a missing value equals a missing one.
bool same(const StepRecord& a, const StepRecord& b, const Run& run);

}  // namespace gradhealth::test
