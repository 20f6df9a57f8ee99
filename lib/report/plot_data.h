#pragma once

#include <string>

#include <gradhealth/report.h>

namespace gradhealth {

/// What report.js draws, as JSON: an array with an object per model. Four significant digits.
std::string plot_data(const Report& report);

}  // namespace gradhealth
