#include "rules/support/signal_profile.h"

#include <cmath>
#include <limits>

#include "stats/robust.h"

namespace gradhealth::rules {

bool SignalProfile::is_geometric(double log_growth) const {
  const double wanted = std::abs(log_growth);
  const double sign = log_growth < 0 ? -1 : 1;
  const double typical_growth = sign * typical * static_cast<double>(layers - 1);
  return layers >= 2 && sign * growth > wanted && typical_growth > wanted / 2;
}

SignalProfile signal_profile(const StepRecord& record, const Layers& layers, std::vector<double>& scratch) {
  SignalProfile profile;
  if (record.values(Quantity::kActivationRms).empty()) return profile;
  scratch.resize(layers.all().size());
  std::size_t factors = 0;
  for (std::size_t i = 0; i + 1 < layers.all().size(); ++i) {
    const Layer& layer = layers.all()[i];
    if (!layer.activation) continue;
    const double rms = record.at(Quantity::kActivationRms, *layer.activation);
    if (!std::isfinite(rms) || !(rms > 0)) continue;
    if (profile.layers++ == 0) {
      profile.first = *layer.activation;
      profile.first_rms = rms;
    } else {
      scratch[factors++] = rms / profile.last_rms;
    }
    profile.last = *layer.activation;
    profile.last_rms = rms;
  }
  // The logarithm keeps the order: one of the median is as good as the median of all of them.
  profile.typical = std::log(stats::median_in_place(scratch.data(), factors));
  profile.growth =
      profile.layers < 2 ? std::numeric_limits<double>::quiet_NaN() : std::log(profile.last_rms / profile.first_rms);
  return profile;
}

}  // namespace gradhealth::rules
