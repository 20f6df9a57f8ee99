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

/// A recording with nothing in it.
Report empty();

/// Two models, one of them healthy and unfinished.
Report adversarial();

}  // namespace gradhealth::sample
