#pragma once

#include <optional>
#include <string>
#include <vector>

#include <gradhealth/comparison.h>

namespace gradhealth {

/// Four significant digits, or "none".
std::string number_or_none(const std::optional<double>& value);

/// "12.3", of after over before; empty if it cannot be told.
std::string factor_text(const ComparedNumber& number);

/// By how many times they differ, those that only one run has last.
std::vector<ComparedNumber> most_changed_first(std::vector<ComparedNumber> numbers);

}  // namespace gradhealth
