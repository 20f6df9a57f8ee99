#pragma once

#include <string>

#include "report/summary.h"

namespace gradhealth {

/// The findings as HTML cards, readable without JavaScript.
std::string html_findings(const Summary& summary);

}  // namespace gradhealth
