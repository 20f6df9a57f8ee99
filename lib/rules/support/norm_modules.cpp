#include "rules/support/norm_modules.h"

#include "rules/support/operators.h"

namespace gradhealth::rules {

void NormModules::update(const Run& run) {
  const std::vector<Subject>& activations = run.of(Axis::kActivation);
  for (; activations_ < activations.size(); ++activations_)
    if (is_norm(activations[activations_].kind)) modules_.insert(activations[activations_].module);
}

}  // namespace gradhealth::rules
