#include "run_file/input_file.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include <gradhealth/errors.h>

#include "run_file/create_file.h"
#include "run_file/stored_text.h"
#include "run_file/superblock.h"

namespace gradhealth::run_file {
namespace {

constexpr std::size_t kMaxAttributeBytes = 60'000;
constexpr std::size_t kMaxTextWidth = 4096;
constexpr std::uint64_t kMaxChunkBytes = 16u << 20;
constexpr std::uint64_t kMaxExtent = std::uint64_t{1} << 40;
/// The default, 100, makes a damaged block of a live file a matter of many seconds.
constexpr unsigned kReadAttempts = 10;

hid_t file_type(ValueType type) {
  switch (type) {
    case ValueType::kInt32: return H5T_STD_I32LE;
    case ValueType::kInt64: return H5T_STD_I64LE;
    case ValueType::kFloat32: return H5T_IEEE_F32LE;
    case ValueType::kFloat64: return H5T_IEEE_F64LE;
    case ValueType::kText: break;
  }
  return H5I_INVALID_HID;
}

Handle open_file(const std::filesystem::path& path, Superblock::Access access) {
  const Handle properties = file_access();
  H5Pset_metadata_read_attempts(properties.get(), kReadAttempts);
  const unsigned flags = access == Superblock::Access::kSwmrWriter ? H5F_ACC_RDONLY | H5F_ACC_SWMR_READ : H5F_ACC_RDONLY;
  return Handle(H5Fopen(path.c_str(), flags, properties.get()), H5Fclose);
}

bool is_known_filter(H5Z_filter_t filter) {
  return filter == H5Z_FILTER_DEFLATE || filter == H5Z_FILTER_SHUFFLE || filter == H5Z_FILTER_FLETCHER32;
}

std::string text_from(const char* bytes, std::size_t width) {
  return stored_text(std::string(bytes, std::find(bytes, bytes + width, '\0')), width * 3);
}

}  // namespace

InputFile::InputFile(const std::filesystem::path& path) : path_(path) {
  // A file can ask for any filter by number; none of them may load code.
  H5PLset_loading_state(0);
  const Superblock superblock = read_superblock(path);
  file_ = open_file(path, superblock.access);
  // The writer may have started or finished in between.
  if (!file_) file_ = open_file(path, read_superblock(path).access);
  if (!file_) damaged("", "cannot open: " + library_words());
}

void InputFile::damaged(std::string_view object, std::string_view problem) const {
  throw FormatError(message(path_, object, problem, "the file is damaged or no run file: take the original or a copy of it"));
}

Handle InputFile::root_attribute(const char* name, H5T_class_t type_class, std::size_t max_bytes) const {
  const htri_t exists = H5Aexists(file_.get(), name);
  if (exists < 0) damaged(name, "cannot look for the attribute: " + library_words());
  if (exists == 0) return {};
  Handle attribute(H5Aopen(file_.get(), name, H5P_DEFAULT), H5Aclose);
  if (!attribute) damaged(name, "cannot open the attribute: " + library_words());
  const Handle type(H5Aget_type(attribute.get()), H5Tclose);
  const Handle space(H5Aget_space(attribute.get()), H5Sclose);
  if (!type || H5Tget_class(type.get()) != type_class || H5Tget_size(type.get()) > max_bytes ||
      H5Tis_variable_str(type.get()) > 0 || !space || H5Sget_simple_extent_type(space.get()) != H5S_SCALAR)
    damaged(name, "the attribute has a type that run files do not use");
  return attribute;
}

std::optional<std::string> InputFile::text_attribute(const char* name) const {
  const Handle attribute = root_attribute(name, H5T_STRING, kMaxAttributeBytes);
  if (!attribute) return std::nullopt;
  const Handle type(H5Aget_type(attribute.get()), H5Tclose);
  std::vector<char> bytes(H5Tget_size(type.get()) + 1);
  if (H5Aread(attribute.get(), type.get(), bytes.data()) < 0) damaged(name, "cannot read: " + library_words());
  return text_from(bytes.data(), bytes.size());
}

std::optional<double> InputFile::real_attribute(const char* name) const {
  const Handle attribute = root_attribute(name, H5T_FLOAT, sizeof(double));
  if (!attribute) return std::nullopt;
  double value = 0;
  if (H5Aread(attribute.get(), H5T_NATIVE_DOUBLE, &value) < 0) damaged(name, "cannot read: " + library_words());
  return value;
}

std::optional<std::int64_t> InputFile::integer_attribute(const char* name) const {
  const Handle attribute = root_attribute(name, H5T_INTEGER, sizeof(std::int64_t));
  if (!attribute) return std::nullopt;
  std::int64_t value = 0;
  if (H5Aread(attribute.get(), H5T_NATIVE_INT64, &value) < 0) damaged(name, "cannot read: " + library_words());
  return value;
}

bool InputFile::has_object(const std::string& path) const {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    const htri_t exists = H5Lexists(file_.get(), part.c_str(), H5P_DEFAULT);
    if (exists < 0) damaged(part, "cannot look for it: " + library_words());
    if (exists == 0) return false;
    H5L_info_t link{};
    if (H5Lget_info(file_.get(), part.c_str(), &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD)
      damaged(part, "is a link to somewhere else");
    const Handle object(H5Oopen(file_.get(), part.c_str(), H5P_DEFAULT), H5Oclose);
    if (!object) damaged(part, "cannot open: " + library_words());
    const bool is_last = end == std::string::npos;
    if (H5Iget_type(object.get()) != (is_last ? H5I_DATASET : H5I_GROUP))
      damaged(part, is_last ? "is not a dataset" : "is not a group");
    if (is_last) return true;
  }
}

std::optional<InputDataset> InputFile::find(const std::string& path, ValueType type, int rank) const {
  if (!has_object(path)) return std::nullopt;
  InputDataset dataset;
  dataset.path = path;
  dataset.handle = Handle(H5Dopen2(file_.get(), path.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset.handle) damaged(path, "cannot open: " + library_words());
  check_type(dataset, type);
  check_space(dataset, rank);
  check_storage(dataset);
  return dataset;
}

InputDataset InputFile::open(const std::string& path, ValueType type, int rank) const {
  std::optional<InputDataset> dataset = find(path, type, rank);
  if (!dataset) damaged(path, "is missing");
  return std::move(*dataset);
}

void InputFile::check_type(InputDataset& dataset, ValueType type) const {
  const Handle found(H5Dget_type(dataset.handle.get()), H5Tclose);
  if (!found) damaged(dataset.path, "cannot read its type: " + library_words());
  bool good = false;
  if (type == ValueType::kText) {
    dataset.text_width = H5Tget_size(found.get());
    good = H5Tget_class(found.get()) == H5T_STRING && H5Tis_variable_str(found.get()) == 0 && dataset.text_width > 0 &&
           dataset.text_width <= kMaxTextWidth;
  } else {
    good = H5Tequal(found.get(), file_type(type)) > 0;
  }
  if (!good) damaged(dataset.path, "has a type that run files do not use there");
}

void InputFile::check_space(InputDataset& dataset, int rank) const {
  const Handle space(H5Dget_space(dataset.handle.get()), H5Sclose);
  const H5S_class_t expected = rank == 0 ? H5S_SCALAR : H5S_SIMPLE;
  if (!space || H5Sget_simple_extent_type(space.get()) != expected ||
      H5Sget_simple_extent_ndims(space.get()) != rank)
    damaged(dataset.path, fmt::format("does not have {} dimensions", rank));
  dataset.rank = rank;
  if (rank == 0) return;
  std::array<hsize_t, 2> extent{1, 1};
  if (H5Sget_simple_extent_dims(space.get(), extent.data(), nullptr) != rank)
    damaged(dataset.path, "cannot read its size: " + library_words());
  for (int i = 0; i < rank; ++i) {
    if (extent[i] > kMaxExtent) damaged(dataset.path, fmt::format("claims a size of {}", extent[i]));
    dataset.extent[i] = extent[i];
  }
}

void InputFile::check_storage(InputDataset& dataset) const {
  const Handle creation(H5Dget_create_plist(dataset.handle.get()), H5Pclose);
  const Handle type(H5Dget_type(dataset.handle.get()), H5Tclose);
  if (!creation || !type) damaged(dataset.path, "cannot read its layout: " + library_words());
  const H5D_layout_t layout = H5Pget_layout(creation.get());
  if (layout != H5D_CHUNKED && layout != H5D_CONTIGUOUS && layout != H5D_COMPACT)
    damaged(dataset.path, "has a layout that run files do not use");
  if (H5Pget_external_count(creation.get()) != 0) damaged(dataset.path, "keeps its data in another file");
  if (layout == H5D_CHUNKED) {
    std::array<hsize_t, 2> chunk{1, 1};
    if (H5Pget_chunk(creation.get(), 2, chunk.data()) != dataset.rank)
      damaged(dataset.path, "cannot read its chunk size: " + library_words());
    if (chunk[0] > kMaxChunkBytes || chunk[1] > kMaxChunkBytes ||
        chunk[0] * chunk[1] > kMaxChunkBytes / H5Tget_size(type.get()))
      damaged(dataset.path, "has chunks larger than 16 MiB");
  }
  const int filters = H5Pget_nfilters(creation.get());
  for (int i = 0; i < filters; ++i) {
    unsigned flags = 0, config = 0;
    std::size_t values = 0;
    if (!is_known_filter(H5Pget_filter2(creation.get(), static_cast<unsigned>(i), &flags, &values, nullptr, 0, nullptr, &config)))
      damaged(dataset.path, "is compressed in a way that run files do not use");
  }
  dataset.is_filtered = filters != 0;
  dataset.stored_bytes = H5Dget_storage_size(dataset.handle.get());
  std::error_code ignored;
  if (dataset.stored_bytes > std::filesystem::file_size(path_, ignored))
    damaged(dataset.path, "claims more bytes than the file has");
}

void InputFile::read_block(const InputDataset& dataset, hid_t type, const std::array<hsize_t, 2>& start,
                           const std::array<hsize_t, 2>& count, void* values) const {
  const Handle source(H5Dget_space(dataset.handle.get()), H5Sclose);
  const Handle target(H5Screate_simple(dataset.rank, count.data(), nullptr), H5Sclose);
  if (!source || !target ||
      H5Sselect_hyperslab(source.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) < 0 ||
      H5Dread(dataset.handle.get(), type, target.get(), source.get(), H5P_DEFAULT, values) < 0)
    damaged(dataset.path, "cannot read: " + library_words());
}

std::int64_t InputFile::read_scalar(const InputDataset& dataset) const {
  std::int64_t value = 0;
  if (H5Dread(dataset.handle.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) < 0)
    damaged(dataset.path, "cannot read: " + library_words());
  return value;
}

void InputFile::read(const InputDataset& dataset, std::uint64_t first, std::uint64_t rows, std::uint64_t columns,
                     float* values) const {
  read_block(dataset, H5T_NATIVE_FLOAT, {first, 0}, {rows, columns}, values);
}

void InputFile::read(const InputDataset& dataset, std::uint64_t first, std::uint64_t rows, std::uint64_t columns,
                     double* values) const {
  read_block(dataset, H5T_NATIVE_DOUBLE, {first, 0}, {rows, columns}, values);
}

void InputFile::read(const InputDataset& dataset, std::uint64_t first, std::uint64_t rows, std::int64_t* values) const {
  read_block(dataset, H5T_NATIVE_INT64, {first, 0}, {rows, 0}, values);
}

std::vector<std::string> InputFile::read_texts(const InputDataset& dataset, std::uint64_t first,
                                               std::uint64_t rows) const {
  const Handle type(H5Dget_type(dataset.handle.get()), H5Tclose);
  const std::size_t width = dataset.text_width;
  std::vector<char> bytes(rows * width);
  read_block(dataset, type.get(), {first, 0}, {rows, 0}, bytes.data());
  std::vector<std::string> texts;
  texts.reserve(rows);
  for (std::size_t i = 0; i < rows; ++i) texts.push_back(text_from(bytes.data() + i * width, width));
  return texts;
}

}  // namespace gradhealth::run_file
