#pragma once

#include <filesystem>

#include <gradhealth/run.h>

#include "run_file/hdf5_handle.h"

namespace gradhealth::run_file {

/// File access as writer and readers need it: format of HDF5 1.10, locks only where the file system has them.
Handle file_access();

/// Creates a new file with every object of the schema, empty, and starts single-writer mode, in which
/// no object can be added any more.
/// @param shown the name that messages use; the file gets it later.
/// @throws IoError if the path exists or the file cannot be written.
Handle create_run_file(const std::filesystem::path& path, const std::filesystem::path& shown, const RunInfo& info);

}  // namespace gradhealth::run_file
