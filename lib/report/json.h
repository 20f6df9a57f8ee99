#pragma once

#include <nlohmann/json.hpp>

#include <gradhealth/report.h>

namespace gradhealth {

/// The members in the order in which they are written.
using Json = nlohmann::ordered_json;

/// One run, as write_json() prints it.
Json to_json(const Report& report);

/// A finding's evidence and recommendations, each as in to_json().
Json evidence_json(const Finding& finding);
Json recommendations_json(const Finding& finding);

/// The number; "NaN", "Infinity" or "-Infinity", which JSON has no numbers for.
Json json_number(double value);

/// ASCII only, so that no terminal or log is steered by what a run contains; invalid UTF-8 is replaced.
std::string dump(const Json& json, int indent);

}  // namespace gradhealth
