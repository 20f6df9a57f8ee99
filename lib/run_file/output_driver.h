#pragma once

#include <cstdint>

#include <hdf5.h>

namespace gradhealth::run_file {

/// The file that HDF5 writes to through use_output_driver().
struct OutputFile {
  int descriptor = -1;  ///< While it is open.
  int error = 0;        ///< errno of the first failure; from then on the file stays as it is.
};

/// Has HDF5 write through a driver of ours instead of its own, where a write fails only once: HDF5 is told that it and
/// all later ones succeed, and nothing of them reaches the file, as if the process had been killed then. Told the truth,
/// HDF5 1.10 takes further writes and loses them, and crashes in exit() where closing the file has failed.
/// The files are ordinary ones, for any other driver to read.
/// @param file outlives whatever HDF5 does with the file; whoever writes asks it for errors.
/// @return whether HDF5 accepts the driver.
bool use_output_driver(hid_t file_access, OutputFile& file);

}  // namespace gradhealth::run_file
