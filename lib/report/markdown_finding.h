#pragma once

#include <string>

#include "report/summary.h"

namespace gradhealth {

/// A root cause with its evidence, fixes and consequences, as Markdown. Bounded: what is long in it is cut.
std::string markdown_finding(const DiagnosedFinding& root, bool several_models);

/// Its first lines alone: what and where.
std::string markdown_heading(const DiagnosedFinding& root, bool several_models);

}  // namespace gradhealth
