#pragma once

#include <string>

/// The library's version; CMakeLists.txt reads it from here.
#define GRADHEALTH_VERSION "0.1.0"

namespace gradhealth {

/// The HDF5 that is in use, "HDF5 1.10.8, thread-safe".
std::string hdf5_library();

}  // namespace gradhealth
