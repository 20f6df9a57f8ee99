#include "rules/support/module_groups.h"

#include <algorithm>

namespace gradhealth::rules {

std::vector<ModuleGroup> by_module(const std::vector<Subject>& parameters, const std::vector<std::size_t>& picked) {
  std::vector<ModuleGroup> groups;
  for (const std::size_t i : picked) {
    const auto found = std::find_if(groups.begin(), groups.end(),
                                    [&](const ModuleGroup& group) { return group.module == parameters[i].module; });
    if (found == groups.end())
      groups.push_back({parameters[i].module, {i}});
    else
      found->parameters.push_back(i);
  }
  return groups;
}

std::vector<std::string> names_of(const std::vector<Subject>& parameters, const std::vector<std::size_t>& picked) {
  std::vector<std::string> names;
  for (const std::size_t i : picked) names.push_back(parameters[i].name);
  return names;
}

}  // namespace gradhealth::rules
