#pragma once

#include <string>

#include <gradhealth/report.h>

/// Reports made by hand, so that the writers are tested without a run file or a rule.
namespace sample {

/// Raw pixels that led to dead units and a flat loss; 600 steps, 8 parameters.
gradhealth::Report unhealthy();

/// The same network with nothing to find.
gradhealth::Report healthy();

/// `layers` parameters over `steps` steps, some of them zero, some not finite.
gradhealth::Report large(std::size_t layers, std::int64_t steps);

/// One finding with everything that a name, a message or code could carry along.
gradhealth::Report hostile(const std::string& text);

/// A recording with nothing in it.
gradhealth::Report empty();

/// Two models, one of them healthy and unfinished.
gradhealth::Report adversarial();

}  // namespace sample
