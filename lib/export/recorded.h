#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <gradhealth/run.h>

namespace gradhealth {

/// Whether there was anything to record. A NaN is missing unless the record counts it as a measured one.
bool was_recorded(const StepRecord& record, Quantity quantity, std::size_t subject);

/// Number of subjects that a record may have values of.
std::size_t width_of(const Run& run, const StepRecord& record, const QuantityInfo& quantity);

/// Printable names, each different from the others: of equal ones the second becomes "name#2".
std::vector<std::string> unique_names(const std::vector<Subject>& subjects);

/// "loss", "parameter/gradient_norm".
std::string quantity_path(const QuantityInfo& quantity, const char* separator = "/");

}  // namespace gradhealth
