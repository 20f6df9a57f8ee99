#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <gradhealth/run.h>

namespace gradhealth::rules {

/// Parameters that share a module: they fail together, and one finding speaks for all of them.
struct ModuleGroup {
  std::string module;
  std::vector<std::size_t> parameters;
};

/// @param picked indices into `parameters`, ascending. In the order of their first parameter.
std::vector<ModuleGroup> by_module(const std::vector<Subject>& parameters, const std::vector<std::size_t>& picked);

std::vector<std::string> names_of(const std::vector<Subject>& parameters, const std::vector<std::size_t>& picked);

}  // namespace gradhealth::rules
