#pragma once

#include <string>

/// What faulty_disk.cpp, preloaded into a process, makes of its write calls to files whose name contains ".h5". The
/// environment tells it: GRADHEALTH_FAULTY_DISK=ACTION:FIRST[:COUNT[:ERRNO]], write calls (write, pwrite, ftruncate)
/// counted from 1. Actions:
///
///   count  nothing happens
///   kill   the process is killed before call FIRST
///   tear   the process is killed in call FIRST when it has reached a page's border, before it otherwise
///   fail   the COUNT calls from FIRST on fail with ERRNO
///   full   of the COUNT calls from FIRST on, those that make the file longer fail with ENOSPC
///   short  the COUNT calls from FIRST on write a half
///   delay  the COUNT calls from FIRST on take ERRNO milliseconds longer
///   sync   the COUNT calls of fsync and fdatasync from FIRST on fail with ERRNO; these are counted apart
///   log    every call is appended to the file that GRADHEALTH_FAULTY_DISK_LOG names (disk_log.h)
///
/// GRADHEALTH_FAULTY_DISK_UNSAFE=1 has HDF5 say that it is not thread-safe.
namespace gradhealth::test {

inline constexpr const char* kFaultyDisk = "GRADHEALTH_FAULTY_DISK";
inline constexpr const char* kFaultyDiskLog = "GRADHEALTH_FAULTY_DISK_LOG";
inline constexpr const char* kFaultyDiskUnsafe = "GRADHEALTH_FAULTY_DISK_UNSAFE";

/// Write calls up to now, for dlsym(): a process without the library has none of that name.
inline constexpr const char* kWriteCalls = "gradhealth_write_calls";
using WriteCalls = long (*)();

}  // namespace gradhealth::test
