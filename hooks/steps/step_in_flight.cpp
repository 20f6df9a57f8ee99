#include "hooks/steps/step_in_flight.h"

#include <utility>

namespace gradhealth::hooks {

void StepInFlight::clear() {
  StepRecord kept_row = std::move(row);
  kept_row.clear();
  ParameterReadings kept_parameters = std::move(parameters);
  *this = {};
  row = std::move(kept_row);
  parameters = std::move(kept_parameters);
}

}  // namespace gradhealth::hooks
