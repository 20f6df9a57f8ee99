#pragma once

#include <vector>

#include <gradhealth/diagnosis.h>
#include <gradhealth/rules.h>

namespace gradhealth::hooks {

/// The rules to which one pass, shown to them again and again, says what a training's first steps would; sorted.
const std::vector<Rule>& preflight_rules();

/// The options without what they say about other rules of the catalogue.
/// @throws UsageError for rules that do not exist at all.
DiagnosisOptions preflight_options(const DiagnosisOptions& options);

}  // namespace gradhealth::hooks
