#include "rules/support/layers.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <unordered_map>

#include "rules/support/operators.h"
#include "stats/robust.h"

namespace gradhealth::rules {

void Layers::update(const Run& run) {
  const std::vector<Subject>& parameters = run.of(Axis::kParameter);
  const std::vector<Subject>& activations = run.of(Axis::kActivation);
  if (parameters.size() == parameters_ && activations.size() == activations_) return;
  parameters_ = parameters.size();
  activations_ = activations.size();

  std::unordered_map<std::string_view, std::size_t> output_of;
  for (std::size_t i = 0; i < activations.size(); ++i)
    if (activations[i].name == activations[i].module) output_of.emplace(activations[i].module, i);

  struct Placed {
    Layer layer;
    std::size_t place;
  };
  std::vector<Placed> placed;
  // A layer whose output was not seen stays behind the parameter that is registered before it.
  std::size_t place = 0;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i].kind != "weight") continue;
    Layer layer{i, std::nullopt};
    if (const auto found = output_of.find(parameters[i].module); found != output_of.end()) {
      if (is_embedding(activations[found->second].kind) || is_norm(activations[found->second].kind)) continue;
      layer.activation = found->second;
      place = found->second;
    }
    placed.push_back({layer, place});
  }
  std::stable_sort(placed.begin(), placed.end(), [](const Placed& a, const Placed& b) { return a.place < b.place; });
  layers_.clear();
  for (const Placed& each : placed) layers_.push_back(each.layer);
}

double relative_gradient(const StepRecord& record, const Layer& layer) {
  const double gradient = record.at(Quantity::kGradientNorm, layer.parameter);
  const double weight = record.at(Quantity::kWeightNorm, layer.parameter);
  if (!std::isfinite(gradient) || !std::isfinite(weight) || !(weight > 0))
    return std::numeric_limits<double>::quiet_NaN();
  return gradient / weight;
}

DepthProfile depth_profile(const StepRecord& record, const Layers& layers, std::vector<double>& scratch) {
  DepthProfile profile;
  if (record.values(Quantity::kWeightNorm).empty()) return profile;
  scratch.resize(layers.all().size());
  std::size_t others = 0;
  for (const Layer& layer : layers.all()) {
    const double value = relative_gradient(record, layer);
    if (std::isnan(value)) continue;
    if (profile.layers++ == 0) {
      profile.first = &layer;
      profile.first_value = value;
    } else {
      scratch[others++] = value;
    }
    profile.last = &layer;
    profile.last_value = value;
  }
  profile.median = stats::median_in_place(scratch.data(), others);
  return profile;
}

}  // namespace gradhealth::rules
