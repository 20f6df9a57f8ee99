#pragma once

#include <gradhealth/rules.h>

namespace gradhealth::test {

/// Where the environment has GRADHEALTH_ADVICE_FILE: appends the code of each recommendation, once, as a function body
/// that tests/advice compiles against LibTorch. Does nothing otherwise.
void collect_advice(const Outcome& outcome);

}  // namespace gradhealth::test
