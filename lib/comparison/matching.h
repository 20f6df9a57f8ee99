#pragma once

#include <string>
#include <vector>

#include <gradhealth/report.h>

namespace gradhealth::compared {

/// What makes a finding of one run that of another: rule, module and name. The model is matched before.
std::string identity(const Finding& finding);

/// Every finding of a diagnosis, consequences included; most severe first, then earliest.
std::vector<Finding> all_findings(const Diagnosis& diagnosis);

/// The model of `report` that corresponds to `model` of a run with `siblings` models; null if there is none.
const ModelReport* counterpart(const Report& report, const ModelReport& model, std::size_t siblings);

}  // namespace gradhealth::compared
