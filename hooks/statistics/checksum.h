#pragma once

#include <cstddef>
#include <cstdint>

namespace gradhealth::hooks {

/// Of the bits, so that any single change shows, however small; reads the memory once.
std::uint64_t checksum(const void* data, std::size_t bytes);

}  // namespace gradhealth::hooks
