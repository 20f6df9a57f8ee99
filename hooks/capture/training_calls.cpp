#include "hooks/capture/training_calls.h"

#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

namespace gradhealth::hooks {
namespace {

/// Forward passes that nothing was differentiated through are evaluation, unless there is no other pass.
std::vector<bool> training_part(const std::vector<ActivationCall>& calls) {
  std::set<int> differentiated;
  for (const ActivationCall& call : calls)
    if (call.gradient_seen && !call.superseded) differentiated.insert(call.pass);
  std::vector<bool> belongs(calls.size());
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const ActivationCall& call = calls[i];
    const bool in_training = differentiated.empty() ||
                             (differentiated.count(call.pass) > 0 && (call.gradient_seen || !call.gradient_expected));
    belongs[i] = in_training && !call.superseded;
  }
  return belongs;
}

/// "conv1", "conv1:relu", "conv1#1" for the second call in a pass.
std::vector<std::string> names_of(const std::vector<ActivationCall>& calls, const std::vector<bool>& wanted) {
  std::vector<std::string> names(calls.size());
  std::map<std::pair<int, std::string>, int> seen;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (!wanted[i]) continue;
    const ActivationCall& call = calls[i];
    std::string name = call.base;
    if (call.parent >= 0) {
      const auto parent = static_cast<std::size_t>(call.parent);
      const std::string& behind = names[parent].empty() ? calls[parent].base : names[parent];
      // An activation of an activation is named after the layer: "fc:relu", then "fc:dropout", not "fc:relu:dropout".
      name = behind.substr(0, behind.find(':')) + ":" + call.base;
    }
    const int repetition = seen[{call.pass, name}]++;
    names[i] = repetition == 0 ? name : fmt::format("{}#{}", name, repetition);
  }
  return names;
}

}  // namespace

TrainingCalls::TrainingCalls(const std::vector<ActivationCall>& calls)
    : wanted_(training_part(calls)), names_(names_of(calls, wanted_)) {}

bool TrainingCalls::has(int call) const {
  return call >= 0 && static_cast<std::size_t>(call) < wanted_.size() && wanted_[static_cast<std::size_t>(call)];
}

}  // namespace gradhealth::hooks
