#include "rules/support/hidden_activations.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "rules/support/init_advice.h"

namespace gradhealth::rules {
namespace {

bool is_recurrent(const std::string& kind) {
  return kind.find("lstm") != std::string::npos || kind.find("gru") != std::string::npos ||
         kind.find("rnn") != std::string::npos;
}

/// Features that a weight takes in; 0 if its shape is unknown. A convolution's are channels.
std::int64_t inputs_of(const Subject& weight) {
  const std::vector<std::int64_t> sizes = sizes_of(weight.shape);
  return sizes.size() >= 2 ? sizes[1] : 0;
}

bool takes(const Subject& weight, std::int64_t width) {
  const std::int64_t inputs = inputs_of(weight);
  // Flattened channels enter a linear layer as a multiple.
  return inputs == 0 || width <= 0 || inputs == width || (width > 1 && inputs % width == 0);
}

}  // namespace

void HiddenActivations::update(const Run& run) {
  const std::vector<Subject>& activations = run.of(Axis::kActivation);
  const std::vector<Subject>& parameters = run.of(Axis::kParameter);
  if (activations.size() == activations_.size() && parameters.size() == parameters_) return;
  activations_ = activations;
  parameters_ = parameters.size();
  hidden_.assign(activations.size(), false);
  for (std::size_t i = 0; i < activations.size(); ++i) {
    const std::optional<Subject> own = own_output(i);
    if (own &&
        (is_recurrent(own->kind) || (own->size > 0 && activations[i].size > 0 && own->size != activations[i].size)))
      continue;
    const auto next = std::find_if(
        activations.begin() + static_cast<std::ptrdiff_t>(i) + 1, activations.end(),
        [&](const Subject& later) { return later.name == later.module && later.module != activations[i].module; });
    if (next == activations.end()) continue;
    hidden_[i] = std::any_of(parameters.begin(), parameters.end(), [&](const Subject& parameter) {
      return parameter.module == next->module && parameter.kind != "bias" && takes(parameter, activations[i].size);
    });
  }
}

std::optional<Subject> HiddenActivations::own_output(std::size_t activation) const {
  const std::string& module = activations_[activation].module;
  for (const Subject& each : activations_)
    if (each.name == module && !module.empty()) return each;
  return std::nullopt;
}

}  // namespace gradhealth::rules
