#include "run_file/checked_file.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <system_error>
#include <thread>

#include <fmt/format.h>

#include <gradhealth/errors.h>

#include "run_file/schema.h"

namespace gradhealth::run_file {
namespace {

constexpr hsize_t kMostChunkBytes = 16u << 20;
constexpr std::size_t kWidestText = 4096;
constexpr int kMostFilters = 3;
constexpr std::uintmax_t kMostDeflated = 1032;  ///< Bytes that deflate makes of one.
constexpr int kLooksAtSize = 4;
constexpr std::chrono::milliseconds kBetweenLooks{5};

/// Whether a chunk of the dataset has ever been written.
bool has_chunks(hid_t dataset, hid_t space, int rank) {
  // HDF5 counts the chunks of a matrix in its B-tree. In the array that leads to those of a column it would look for each
  // one that a damaged header claims, and the size of the array says enough; of a damaged B-tree, HDF5 1.14 crashes when
  // it is asked for the size.
  if (rank > 1) {
    hsize_t count = 0;
    return H5Dget_num_chunks(dataset, space, &count) < 0 || count > 0;
  }
#if H5_VERSION_GE(1, 12, 0)
  H5O_native_info_t info{};
  if (H5Oget_native_info(dataset, &info, H5O_NATIVE_INFO_META_SIZE) < 0) return true;
#else
  H5O_info_t info{};
  if (H5Oget_info2(dataset, &info, H5O_INFO_META_SIZE) < 0) return true;
#endif
  return info.meta_size.obj.index_size > 0;
}

/// @param error takes what HDF5 says where it fails; any later call would clear it.
Handle open_file(const std::filesystem::path& path, unsigned flags, std::string& error) {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), &H5Pclose);
  // The default of 100 attempts makes HDF5 1.10 hang on a block that a crash has torn.
  if (flags & H5F_ACC_SWMR_READ) H5Pset_metadata_read_attempts(access.get(), 10);
  Handle file(H5Fopen(path.c_str(), flags, access.get()), &H5Fclose);
  if (!file) error = last_error();
  return file;
}

/// The part of an HDF5 file's first block that tells how it was left (HDF5 File Format Specification 3.0, superblock
/// version 3).
struct Superblock {
  bool written_concurrently = false;
  std::uint64_t end = 0;  ///< Bytes that the file had at its last flush.
};

Superblock read_superblock(const std::filesystem::path& path) {
  constexpr std::array<unsigned char, 8> kSignature{0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  constexpr std::size_t kVersion = 8, kOffsetSize = 9, kFlags = 11, kEnd = 28;
  constexpr unsigned char kSwmrWrite = 0x04;
  std::array<unsigned char, 48> bytes{};
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(bytes.data()), bytes.size());
  Superblock superblock;
  if (file.gcount() < static_cast<std::streamsize>(bytes.size()) ||
      !std::equal(kSignature.begin(), kSignature.end(), bytes.begin()) || bytes[kVersion] != 3 || bytes[kOffsetSize] != 8)
    return superblock;
  superblock.written_concurrently = (bytes[kFlags] & kSwmrWrite) != 0;
  for (std::size_t i = 0; i < 8; ++i) superblock.end |= std::uint64_t{bytes[kEnd + i]} << (8 * i);
  return superblock;
}

/// What stored type an object must have, to the bit.
Handle expected_type(CheckedFile::Type type) {
  switch (type) {
    case CheckedFile::Type::kInt32: return Handle(H5Tcopy(H5T_STD_I32LE), &H5Tclose);
    case CheckedFile::Type::kInt64: return Handle(H5Tcopy(H5T_STD_I64LE), &H5Tclose);
    case CheckedFile::Type::kFloat32: return Handle(H5Tcopy(H5T_IEEE_F32LE), &H5Tclose);
    case CheckedFile::Type::kFloat64: return Handle(H5Tcopy(H5T_IEEE_F64LE), &H5Tclose);
    case CheckedFile::Type::kText: break;
  }
  return {};
}

bool fixed_text(hid_t type) {
  return H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 && H5Tget_size(type) <= kWidestText;
}

}  // namespace

void CheckedFile::damaged(const std::string& object, const std::string& what, std::optional<hsize_t> lost_from) const {
  throw DamagedObject(fmt::format("{}: /{}: {}; the file is damaged or was not written by gradhealth", path_.string(),
                                  object, what),
                      what, lost_from);
}

CheckedFile::CheckedFile(const std::filesystem::path& path, Damage damage) : path_(path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) throw IoError(fmt::format("{}: does not exist", path.string()));
  if (!std::filesystem::is_regular_file(status)) throw IoError(fmt::format("{}: is no ordinary file", path.string()));
  bytes_ = bytes_before_ = std::filesystem::file_size(path, error);
  if (error) throw IoError(fmt::format("{}: cannot be read: {}", path.string(), error.message()));
  if (bytes_ == 0) throw FormatError(fmt::format("{}: is empty; its trainer died before the first step", path.string()));
  H5open();
  H5PLset_loading_state(0);  // A file may ask for any filter plugin by number.
  std::string reason;
  file_ = open_file(path, H5F_ACC_RDONLY, reason);
  if (file_) return;
  // A run that is being written, or whose trainer died, opens for concurrent reading only. Other files must not be
  // opened that way: HDF5 would then read zeros where a file was cut off.
  Superblock superblock;
  for (int attempt = 0; attempt < kLooksAtSize; ++attempt) {
    if (attempt > 0) std::this_thread::sleep_for(kBetweenLooks);
    superblock = read_superblock(path);
    bytes_ = std::filesystem::file_size(path, error);
    // A live file's first block may be ahead of its length for a moment.
    if (error || superblock.end <= bytes_ || !superblock.written_concurrently) break;
  }
  bytes_before_ = std::max<std::uintmax_t>(bytes_, superblock.end);
  // Of a trainer that was killed between the two, a part of the last page is missing; nothing was ever written there.
  const bool cut_off = superblock.end >= bytes_ + kPageBytes;
  if (cut_off && damage == Damage::kRefused)
    throw FormatError(fmt::format("{}: is truncated: {} bytes of {} are there", path.string(), bytes_, superblock.end));
  if (superblock.written_concurrently || cut_off) file_ = open_file(path, H5F_ACC_RDONLY | H5F_ACC_SWMR_READ, reason);
  if (file_) return;
  const bool is_hdf5 = H5Fis_hdf5(path.c_str()) > 0;
  H5Eclear2(H5E_DEFAULT);
  if (!is_hdf5)
    throw FormatError(fmt::format("{}: is not a run file (no HDF5 file at all, or cut off at the start)", path.string()));
  throw FormatError(fmt::format("{}: cannot be opened: {}", path.string(), reason));
}

bool CheckedFile::has_object(const std::string& object) const {
  std::string prefix;
  for (std::size_t begin = 0; begin <= object.size();) {
    const std::size_t slash = std::min(object.find('/', begin), object.size());
    prefix = object.substr(0, slash);
    const htri_t exists = H5Lexists(file_.get(), prefix.c_str(), H5P_DEFAULT);
    if (exists < 0) damaged(prefix, "cannot be looked up: " + last_error());
    if (exists == 0) return false;
    H5L_info_t link{};
    // Soft and external links lead out of what is checked here.
    if (H5Lget_info(file_.get(), prefix.c_str(), &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
      damaged(prefix, "is a link");
    begin = slash + 1;
  }
  return true;
}

std::optional<CheckedDataset> CheckedFile::find(const std::string& object, Type type, int rank) const {
  if (!has_object(object)) return std::nullopt;
  CheckedDataset checked;
  checked.dataset = Handle(H5Dopen2(file_.get(), object.c_str(), H5P_DEFAULT), &H5Dclose);
  if (!checked.dataset) damaged(object, "cannot be opened: " + last_error());
  const Handle stored(H5Dget_type(checked.dataset.get()), &H5Tclose);
  if (type == Type::kText) {
    if (!stored || !fixed_text(stored.get())) damaged(object, "is not fixed-length text");
    checked.text_width = H5Tget_size(stored.get());
  } else if (!stored || H5Tequal(stored.get(), expected_type(type).get()) <= 0) {
    damaged(object, "has another number type than the format says");
  }
  const Handle space(H5Dget_space(checked.dataset.get()), &H5Sclose);
  if (!space || H5Sget_simple_extent_ndims(space.get()) != rank)
    damaged(object, fmt::format("does not have {} dimensions", rank));
  checked.size.resize(static_cast<std::size_t>(rank));
  if (rank > 0) H5Sget_simple_extent_dims(space.get(), checked.size.data(), nullptr);
  const Handle creation(H5Dget_create_plist(checked.dataset.get()), &H5Pclose);
  if (!creation || H5Pget_external_count(creation.get()) != 0) damaged(object, "is stored outside the file");
  const int filters = H5Pget_nfilters(creation.get());
  if (filters < 0 || filters > kMostFilters) damaged(object, "has more filters than the format knows");
  for (unsigned i = 0; i < static_cast<unsigned>(filters); ++i) {
    unsigned flags = 0;
    std::size_t parameters = 0;
    const H5Z_filter_t filter = H5Pget_filter2(creation.get(), i, &flags, &parameters, nullptr, 0, nullptr, nullptr);
    if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32)
      damaged(object, "has a filter that the format does not know");
  }
  const H5D_layout_t layout = H5Pget_layout(creation.get());
  if (layout == H5D_CHUNKED) {
    std::vector<hsize_t> chunk(checked.size.size());
    if (H5Pget_chunk(creation.get(), rank, chunk.data()) != rank) damaged(object, "has odd chunks");
    hsize_t bytes = H5Tget_size(stored.get());
    for (const hsize_t length : chunk) {
      if (length == 0 || bytes > kMostChunkBytes / length) damaged(object, "has chunks of an unreasonable size");
      bytes *= length;
    }
    checked.chunk = std::move(chunk);
    checked.is_written = has_chunks(checked.dataset.get(), space.get(), rank);
  } else if (layout != H5D_CONTIGUOUS && layout != H5D_COMPACT) {
    damaged(object, "is stored in another file");
  }
  // Of chunks HDF5 would look for each one that there could be, and a damaged index has 2^63.
  if (layout != H5D_CHUNKED && H5Dget_storage_size(checked.dataset.get()) > bytes_before_)
    damaged(object, "claims more bytes than the file has");
  return checked;
}

CheckedDataset CheckedFile::open(const std::string& object, Type type, int rank) const {
  std::optional<CheckedDataset> found = find(object, type, rank);
  if (!found) damaged(object, "is missing");
  return std::move(*found);
}

std::int64_t CheckedFile::scalar(const std::string& object, Type type) const {
  const CheckedDataset dataset = open(object, type, 0);
  if (bytes_ < bytes_before_) require_bytes(dataset, {}, {}, object);
  std::int64_t value = 0;
  if (H5Dread(dataset.dataset.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) < 0)
    damaged(object, "cannot be read: " + last_error());
  return value;
}

std::int64_t CheckedFile::capacity(const CheckedDataset& dataset) const {
  const Handle creation(H5Dget_create_plist(dataset.dataset.get()), &H5Pclose);
  const Handle stored(H5Dget_type(dataset.dataset.get()), &H5Tclose);
  const std::size_t width = std::max<std::size_t>(H5Tget_size(stored.get()), 1);
  const bool filtered = H5Pget_nfilters(creation.get()) > 0;
  return static_cast<std::int64_t>(bytes_before_ / width * (filtered ? kMostDeflated : 1));
}

void CheckedFile::require_bytes(const CheckedDataset& dataset, const std::vector<hsize_t>& offset,
                                const std::vector<hsize_t>& size, const std::string& object) const {
  const auto require = [&](haddr_t address, hsize_t bytes) {
    if (address != HADDR_UNDEF && (address > bytes_ || bytes > bytes_ - address)) damaged(object, "was cut off");
  };
  const hid_t id = dataset.dataset.get();
  const std::vector<hsize_t>& chunk = dataset.chunk;
  // A compact one has no place of its own.
  if (chunk.empty()) return require(H5Dget_offset(id), H5Dget_storage_size(id));
  const hsize_t columns = size.size() > 1 ? size[1] : 1;
  const hsize_t width = size.size() > 1 ? chunk[1] : 1;
  for (hsize_t row = offset[0] / chunk[0] * chunk[0]; row < offset[0] + size[0]; row += chunk[0]) {
    for (hsize_t column = 0; column < columns; column += width) {
      const std::array<hsize_t, 2> at{row, column};
      unsigned filters = 0;
      haddr_t address = HADDR_UNDEF;
      hsize_t bytes = 0;
      if (H5Dget_chunk_info_by_coord(id, at.data(), &filters, &address, &bytes) < 0)
        damaged(object, "cannot be found: " + last_error(), row);
      require(address, bytes);
    }
  }
}

void CheckedFile::read(const CheckedDataset& dataset, hid_t native, const std::vector<hsize_t>& offset,
                       const std::vector<hsize_t>& size, void* data, const std::string& object) const {
  // HDF5 reads zeros from behind the end of a file that it takes for one that is still being written.
  if (bytes_ < bytes_before_) require_bytes(dataset, offset, size, object);
  const Handle source(H5Dget_space(dataset.dataset.get()), &H5Sclose);
  const Handle target(H5Screate_simple(static_cast<int>(size.size()), size.data(), nullptr), &H5Sclose);
  if (H5Sselect_hyperslab(source.get(), H5S_SELECT_SET, offset.data(), nullptr, size.data(), nullptr) < 0 ||
      H5Dread(dataset.dataset.get(), native, target.get(), source.get(), H5P_DEFAULT, data) < 0) {
    const std::string reason = "cannot be read: " + last_error();
    // Where it is for want of an index, it tells from which row on.
    require_bytes(dataset, offset, size, object);
    damaged(object, reason);
  }
}

std::vector<std::string> CheckedFile::read_text(const CheckedDataset& dataset, hsize_t first, hsize_t count,
                                                const std::string& object) const {
  std::vector<char> packed(static_cast<std::size_t>(count) * dataset.text_width);
  const Handle type = text_type(dataset.text_width);
  if (count > 0) read(dataset, type.get(), {first}, {count}, packed.data(), object);
  std::vector<std::string> texts;
  for (auto it = packed.begin(); it != packed.end(); it += static_cast<std::ptrdiff_t>(dataset.text_width))
    texts.emplace_back(it, std::find(it, it + static_cast<std::ptrdiff_t>(dataset.text_width), '\0'));
  return texts;
}

std::optional<Handle> CheckedFile::attribute(const char* name) const {
  const htri_t exists = H5Aexists(file_.get(), name);
  if (exists < 0) damaged(name, "cannot be looked up: " + last_error());
  if (exists == 0) return std::nullopt;
  Handle handle(H5Aopen(file_.get(), name, H5P_DEFAULT), &H5Aclose);
  const Handle space(handle ? H5Aget_space(handle.get()) : H5I_INVALID_HID, &H5Sclose);
  if (!space || H5Sget_simple_extent_npoints(space.get()) != 1) damaged(name, "is no single attribute value");
  return handle;
}

std::string CheckedFile::text_attribute(const char* name) const {
  const std::optional<Handle> handle = attribute(name);
  if (!handle) return {};
  const Handle stored(H5Aget_type(handle->get()), &H5Tclose);
  if (!stored || !fixed_text(stored.get())) damaged(name, "is not fixed-length text");
  std::string text(H5Tget_size(stored.get()), '\0');
  const Handle type = text_type(text.size());
  if (H5Aread(handle->get(), type.get(), text.data()) < 0) damaged(name, "cannot be read: " + last_error());
  return text.substr(0, text.find('\0'));
}

std::optional<double> CheckedFile::number_attribute(const char* name) const {
  const std::optional<Handle> handle = attribute(name);
  if (!handle) return std::nullopt;
  const Handle stored(H5Aget_type(handle->get()), &H5Tclose);
  const H5T_class_t kind = stored ? H5Tget_class(stored.get()) : H5T_NO_CLASS;
  if (kind != H5T_FLOAT && kind != H5T_INTEGER) damaged(name, "is no number");
  double value = 0;
  if (H5Aread(handle->get(), H5T_NATIVE_DOUBLE, &value) < 0) damaged(name, "cannot be read: " + last_error());
  return value;
}

}  // namespace gradhealth::run_file
