#include "run_file/superblock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include <gradhealth/errors.h>

#include "run_file/hdf5_handle.h"

namespace gradhealth::run_file {
namespace {

// Layout of superblock versions 2 and 3, from HDF5's file format specification.
constexpr std::string_view kSignature("\x89HDF\r\n\x1a\n", 8);
constexpr std::size_t kVersionAt = 8, kOffsetSizeAt = 9, kFlagsAt = 11, kEndOfFileAt = 28, kBytes = 48;
constexpr unsigned char kWriteOpen = 0x01, kSwmrOpen = 0x04;

class Descriptor {
 public:
  // Not blocking, in case a pipe has taken the file's place.
  explicit Descriptor(const std::filesystem::path& path) : number_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return number_; }

 private:
  int number_;
};

std::uint64_t little_endian(const unsigned char* bytes) {
  std::uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | bytes[i];
  return value;
}

}  // namespace

Superblock read_superblock(const std::filesystem::path& path) {
  const Descriptor file(path);
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0)
    throw IoError(message(path, "", "cannot open: " + std::generic_category().message(errno),
                          "check the name and the permissions"));
  if (S_ISDIR(status.st_mode))
    throw IoError(message(path, "", "is a directory", "name one of the run files in it"));
  if (!S_ISREG(status.st_mode))
    throw IoError(message(path, "", "is not a regular file", "copy the run to a file first"));
  if (status.st_size == 0)
    throw FormatError(message(path, "", "is empty", "the run was not recorded here, or the copy failed: take the original"));

  std::array<unsigned char, kBytes> bytes{};
  const ssize_t got = ::pread(file.get(), bytes.data(), bytes.size(), 0);
  if (got < 0)
    throw IoError(message(path, "", "cannot read: " + std::generic_category().message(errno), "check the disk"));
  if (static_cast<std::size_t>(got) < kSignature.size() ||
      std::memcmp(bytes.data(), kSignature.data(), kSignature.size()) != 0)
    throw FormatError(message(path, "", "is not an HDF5 file", "name a file that gradhealth has recorded"));
  if (static_cast<std::size_t>(got) < kBytes)
    throw FormatError(message(path, "", "is truncated within its first bytes", "take the original file"));
  if (bytes[kVersionAt] < 2 || bytes[kVersionAt] > 3 || bytes[kOffsetSizeAt] != 8)
    throw FormatError(message(path, "", "is an HDF5 file, but not a run file of gradhealth",
                              "name a file that gradhealth has recorded"));

  // The size may only have grown since the superblock was written: asked for afterwards.
  ::fstat(file.get(), &status);
  Superblock superblock;
  superblock.file_bytes = static_cast<std::uint64_t>(status.st_size);
  const std::uint64_t end = little_endian(bytes.data() + kEndOfFileAt);
  if (superblock.file_bytes < end)
    throw FormatError(message(path, "", fmt::format("is truncated: {} of {} bytes", superblock.file_bytes, end),
                              "take the original file"));
  if ((bytes[kFlagsAt] & (kWriteOpen | kSwmrOpen)) == (kWriteOpen | kSwmrOpen))
    superblock.access = Superblock::Access::kSwmrWriter;
  return superblock;
}

}  // namespace gradhealth::run_file
