#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// What HDF5 guards with checksums: a damaged byte is found there and goes no further. To get behind that, a mutant's
/// checksums have to be right.
namespace gradhealth::hostile {

/// A block of metadata, its checksum being its last four bytes (HDF5 File Format Specification 3.0).
struct MetadataBlock {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// lookup3's hashlittle() by Bob Jenkins (public domain) with the initial value 0, as HDF5 uses it.
std::uint32_t metadata_checksum(std::string_view bytes);

/// The blocks of a file that are intact and no longer than 4 KiB, in the order of their places.
std::vector<MetadataBlock> metadata_blocks(std::string_view file);

/// Makes a block's checksum right.
void seal(std::string& file, const MetadataBlock& block);

}  // namespace gradhealth::hostile
