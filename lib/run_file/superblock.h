#pragma once

#include <cstdint>
#include <filesystem>

namespace gradhealth::run_file {

/// What the first bytes of an HDF5 file say, read without HDF5.
struct Superblock {
  enum class Access : std::uint8_t {
    kClosed,     ///< Closed properly.
    kSwmrWriter  ///< A single-writer mode writer has it open, or died.
  };
  Access access = Access::kClosed;
  std::uint64_t file_bytes = 0;  ///< Size on disk now.
};

/// @throws IoError if there is no regular file to read, FormatError if it is empty, not HDF5, of a
/// layout no run file has, or shorter than it says itself.
Superblock read_superblock(const std::filesystem::path& path);

}  // namespace gradhealth::run_file
