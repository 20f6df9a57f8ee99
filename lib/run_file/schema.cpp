#include "run_file/schema.h"

#include <fmt/format.h>

namespace gradhealth::run_file {

std::string group_path(Axis axis) { return axis == Axis::kRun ? "" : fmt::format("/{}", name(axis)); }

std::string path_in(Axis axis, std::string_view column) { return fmt::format("{}/{}", group_path(axis), column); }

std::string committed_path(Axis axis) { return path_in(axis, "committed_subjects"); }

std::string path_of(const QuantityInfo& quantity) { return path_in(quantity.axis, quantity.name); }

std::string event_path(std::string_view column) { return fmt::format("{}/{}", kEventGroup, column); }

}  // namespace gradhealth::run_file
