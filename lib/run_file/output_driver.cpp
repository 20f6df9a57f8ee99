#include "run_file/output_driver.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <iterator>
#include <limits>
#include <new>

#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

#include "run_file/hdf5_handle.h"

namespace gradhealth::run_file {
namespace {

constexpr haddr_t kMostBytes = static_cast<haddr_t>(std::numeric_limits<off_t>::max());

/// What HDF5 holds of the open file. HDF5 takes its base for the whole.
struct OpenFile : H5FD_t {
  OutputFile* output = nullptr;
  haddr_t allocated = 0;  ///< Bytes that HDF5 has given away.
  haddr_t size = 0;       ///< That the file has, or would have if everything had reached it.
};

OpenFile& of(H5FD_t* file) { return *static_cast<OpenFile*>(file); }
const OpenFile& of(const H5FD_t* file) { return *static_cast<const OpenFile*>(file); }

H5FD_t* open_file(const char* name, unsigned flags, hid_t access, haddr_t) {
  const auto* info = static_cast<OutputFile* const*>(H5Pget_driver_info(access));
  if (info == nullptr) return nullptr;
  OutputFile& output = **info;
  int how = (flags & H5F_ACC_RDWR) ? O_RDWR : O_RDONLY;
  if (flags & H5F_ACC_TRUNC) how |= O_TRUNC;
  if (flags & H5F_ACC_CREAT) how |= O_CREAT;
  if (flags & H5F_ACC_EXCL) how |= O_EXCL;
  const int descriptor = ::open(name, how | O_CLOEXEC, 0666);
  output = {descriptor, descriptor < 0 ? errno : 0};
  if (descriptor < 0) return nullptr;
  struct stat status {};
  auto* file = ::fstat(descriptor, &status) == 0 ? new (std::nothrow) OpenFile : nullptr;
  if (file == nullptr) {
    output = {-1, ENOMEM};
    ::close(descriptor);
    return nullptr;
  }
  file->output = &output;
  file->size = static_cast<haddr_t>(status.st_size);
  return file;
}

herr_t close_file(H5FD_t* file) {
  OutputFile& output = *of(file).output;
  // Network file systems tell here what they could not write.
  if (::close(output.descriptor) != 0 && output.error == 0 && errno != EINTR) output.error = errno;
  output.descriptor = -1;
  delete static_cast<OpenFile*>(file);
  return 0;
}

int compare(const H5FD_t* a, const H5FD_t* b) {
  const auto *first = of(a).output, *second = of(b).output;
  return first == second ? 0 : std::less<const OutputFile*>()(first, second) ? -1 : 1;
}

/// As of HDF5's own driver for POSIX files.
herr_t tell_features(const H5FD_t*, unsigned long* features) {
  if (features == nullptr) return 0;
  *features = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
              H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_POSIX_COMPAT_HANDLE | H5FD_FEAT_SUPPORTS_SWMR_IO;
#ifdef H5FD_FEAT_DEFAULT_VFD_COMPATIBLE
  *features |= H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
#endif
  return 0;
}

haddr_t tell_allocated(const H5FD_t* file, H5FD_mem_t) { return of(file).allocated; }

herr_t set_allocated(H5FD_t* file, H5FD_mem_t, haddr_t bytes) {
  of(file).allocated = bytes;
  return 0;
}

haddr_t tell_size(const H5FD_t* file, H5FD_mem_t) { return of(file).size; }

herr_t tell_descriptor(H5FD_t* file, hid_t, void** descriptor) {
  *descriptor = &of(file).output->descriptor;
  return 0;
}

herr_t read_bytes(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, std::size_t size, void* data) {
  auto* to = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t read = ::pread(of(file).output->descriptor, to, size, static_cast<off_t>(address));
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) return -1;
    if (read == 0) break;
    to += read;
    address += static_cast<haddr_t>(read);
    size -= static_cast<std::size_t>(read);
  }
  std::memset(to, 0, size);  // Behind the end: allocated and not written yet.
  return 0;
}

herr_t write_bytes(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, std::size_t size, const void* data) {
  OutputFile& output = *of(file).output;
  of(file).size = std::max(of(file).size, address + size);
  const auto* from = static_cast<const char*>(data);
  while (size > 0 && output.error == 0) {
    const ssize_t written = ::pwrite(output.descriptor, from, size, static_cast<off_t>(address));
    if (written < 0) {
      if (errno != EINTR) output.error = errno;
      continue;
    }
    from += written;
    address += static_cast<haddr_t>(written);
    size -= static_cast<std::size_t>(written);
  }
  return 0;
}

herr_t give_allocated_size(H5FD_t* file, hid_t, hbool_t) {
  OpenFile& open = of(file);
  OutputFile& output = *open.output;
  if (open.size == open.allocated) return 0;
  open.size = open.allocated;
  while (output.error == 0 && ::ftruncate(output.descriptor, static_cast<off_t>(open.size)) != 0)
    if (errno != EINTR) output.error = errno;
  return 0;
}

// Nobody else knows the file's name until it may be read. But HDF5 marks a file as open for writing only where its driver
// can lock it.
herr_t lock_file(H5FD_t*, hbool_t) { return 0; }
herr_t unlock_file(H5FD_t*) { return 0; }

const H5FD_class_t& driver() {
  static const H5FD_class_t driver = [] {
    H5FD_class_t made{};
#if H5_VERSION_GE(1, 13, 0)
    made.version = H5FD_CLASS_VERSION;
    made.value = static_cast<H5FD_class_value_t>(0x6772);  // Of the range that HDF5 leaves to others than itself.
#endif
    made.name = "gradhealth";
    made.maxaddr = kMostBytes;
    made.fc_degree = H5F_CLOSE_WEAK;
    made.fapl_size = sizeof(OutputFile*);  // NOLINT(bugprone-sizeof-expression): HDF5 copies the pointer.
    made.open = &open_file;
    made.close = &close_file;
    made.cmp = &compare;
    made.query = &tell_features;
    made.get_eoa = &tell_allocated;
    made.set_eoa = &set_allocated;
    made.get_eof = &tell_size;
    made.get_handle = &tell_descriptor;
    made.read = &read_bytes;
    made.write = &write_bytes;
    made.truncate = &give_allocated_size;
    made.lock = &lock_file;
    made.unlock = &unlock_file;
    const H5FD_mem_t lists[H5FD_MEM_NTYPES] = H5FD_FLMAP_DICHOTOMY;
    std::copy(std::begin(lists), std::end(lists), std::begin(made.fl_map));
    return made;
  }();
  return driver;
}

}  // namespace

bool use_output_driver(hid_t file_access, OutputFile& file) {
  const Handle registered(H5FDregister(&driver()), &H5FDunregister);
  OutputFile* const info = &file;
  return registered && H5Pset_driver(file_access, registered.get(), &info) >= 0;
}

}  // namespace gradhealth::run_file
