#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "kill/child.h"

namespace gradhealth::test {

/// Has acknowledging_writer write its runs into that directory, on a disk with that fault (faulty_disk.h).
Said write_runs(const std::filesystem::path& directory, const std::string& fault,
                const std::string& durability = "process", Environment environment = {});

/// The file of a part, 1 or 2.
std::filesystem::path file_of(int part, const std::filesystem::path& directory);

/// Write calls of those runs, by phase: so many of each at equal distances, the first and the last among them.
std::map<std::string, std::vector<long>> points(int each);

}  // namespace gradhealth::test
