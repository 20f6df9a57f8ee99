#pragma once

#include <vector>

#include <gradhealth/diagnosis.h>
#include <gradhealth/rules.h>

namespace gradhealth::hooks {

/// Judges by the rules to which one pass, shown to them again and again, says what a training's first steps would.
/// @param options of a training; what they say about other rules is left aside.
/// @param rules those that a training is judged by: a copy of the catalogue, changed perhaps.
/// @throws UsageError for rules that do not exist at all, and as Diagnoser does.
Diagnoser preflight_diagnoser(const DiagnosisOptions& options, const std::vector<Rule>& rules);

}  // namespace gradhealth::hooks
