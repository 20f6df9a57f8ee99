#pragma once

#include <cstdint>

namespace gradhealth::test {

/// What comes before the bytes of each entry in the log of faulty_disk.cpp.
struct DiskLogEntry {
  enum Kind : std::int64_t {
    kWrite,         ///< `size` bytes follow.
    kTruncate,      ///< To `offset` bytes.
    kSync,          ///< The call has returned.
    kAcknowledged,  ///< What the process wrote to its standard output: `size` bytes follow.
  };
  std::int64_t kind = kWrite;
  std::int64_t offset = 0;
  std::int64_t size = 0;
  std::int64_t file = 0;  ///< Its inode.
};

}  // namespace gradhealth::test
