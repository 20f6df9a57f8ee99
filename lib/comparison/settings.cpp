#include "comparison/settings.h"

#include <cmath>

#include <fmt/format.h>

namespace gradhealth::compared {
namespace {

std::string text_of(const std::optional<double>& value) { return value ? fmt::format("{:g}", *value) : ""; }

std::string first_rate(const Plots& plots) {
  for (const double rate : plots.learning_rate.maximum)
    if (std::isfinite(rate)) return fmt::format("{:g}", rate);
  return "";
}

double elements(const Run& run) {
  double sum = 0;
  for (const Subject& parameter : run.of(Axis::kParameter)) sum += static_cast<double>(parameter.size);
  return sum;
}

std::string parameters(const Run& run) {
  const std::size_t count = run.of(Axis::kParameter).size();
  return count == 0 ? "" : fmt::format("{} tensors, {:.0f} elements", count, elements(run));
}

std::string input(const Run& run) {
  const std::vector<Subject>& features = run.of(Axis::kFeature);
  return features.empty() ? "" : fmt::format("{} {}", features.front().shape, features.front().dtype);
}

}  // namespace

std::vector<ComparedSetting> differing_settings(const ModelReport& before, const ModelReport& after) {
  const RunInfo& a = before.run.info;
  const RunInfo& b = after.run.info;
  const std::vector<ComparedSetting> all{
      {"optimizer", a.optimizer, b.optimizer},
      {"first learning rate", first_rate(before.plots), first_rate(after.plots)},
      {"momentum", text_of(a.momentum), text_of(b.momentum)},
      {"beta2", text_of(a.beta2), text_of(b.beta2)},
      {"epsilon", text_of(a.epsilon), text_of(b.epsilon)},
      {"weight decay", text_of(a.weight_decay), text_of(b.weight_decay)},
      {"loss kind", a.loss_kind, b.loss_kind},
      {"parameters", parameters(before.run), parameters(after.run)},
      {"first batch", input(before.run), input(after.run)},
      {"libraries", a.libraries, b.libraries},
      {"command line", a.command_line, b.command_line},
  };
  std::vector<ComparedSetting> differing;
  for (const ComparedSetting& each : all)
    if (each.before != each.after) differing.push_back(each);
  return differing;
}

}  // namespace gradhealth::compared
