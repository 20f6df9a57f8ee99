#pragma once

#include <string>

#include <gradhealth/report.h>

/// Reports made by hand, so that the writers are tested without a run file or a rule.
namespace gradhealth::sample {

/// Raw pixels that led to dead units and a flat loss; 600 steps, 8 parameters.
Report unhealthy();

/// The same network with nothing to find.
Report healthy();

/// `layers` parameters over `steps` steps, some of them zero, some not finite.
Report large(std::size_t layers, std::int64_t steps);

/// One finding with everything that a name, a message or code could carry along.
Report hostile(const std::string& text);

/// unhealthy(), of which the flat loss is suppressed, and whose suppression of the dead units has expired.
Report suppressed();

/// `count` root causes of this severity, each in a layer of its own: "layer 0", "layer 1", …
Report many(std::size_t count, Severity severity);

/// A recording with nothing in it.
Report empty();

/// Two models, one of them healthy and unfinished.
Report adversarial();

}  // namespace gradhealth::sample
