#include "run_file/create_file.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <hdf5_hl.h>

#include <gradhealth/errors.h>
#include <gradhealth/version.h>

#include "run_file/schema.h"
#include "run_file/stored_text.h"

namespace gradhealth::run_file {
namespace {

constexpr unsigned kOrdered = H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED;
// Links and attributes stay in the object's header: fewer and smaller structures to damage.
constexpr unsigned kMaxCompact = 64;

Handle text_type(std::size_t width) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), width);
  H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

/// How the value lies in this machine's memory.
Handle native(hid_t file_type) { return Handle(H5Tget_native_type(file_type, H5T_DIR_DEFAULT), H5Tclose); }

/// Creates the objects of one file; the first failure throws.
class Creator {
 public:
  Creator(const std::filesystem::path& path, const std::filesystem::path& shown) : path_(shown) {
    Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
    H5Pset_link_creation_order(creation.get(), kOrdered);
    H5Pset_link_phase_change(creation.get(), kMaxCompact, 0);
    H5Pset_attr_creation_order(creation.get(), kOrdered);
    H5Pset_attr_phase_change(creation.get(), kMaxCompact, 0);
    H5Pset_obj_track_times(creation.get(), 0);
    const Handle access = file_access();
    file_ = Handle(H5Fcreate(path.c_str(), H5F_ACC_EXCL, creation.get(), access.get()), H5Fclose);
    if (!file_)
      throw IoError(message(path_, "", "cannot create the file: " + library_words(),
                            "check that the directory is writable and the disk not full"));
  }

  hid_t file() const { return file_.get(); }
  Handle release() { return std::move(file_); }

  void check(bool good, const std::string& object) const {
    if (!good)
      throw IoError(message(path_, object, "cannot create: " + library_words(),
                            "check the disk's free space, or record to another file system"));
  }

  void attribute(hid_t object, const char* name, hid_t type, const void* value) const {
    const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const Handle attribute(H5Acreate2(object, name, type, space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    check(attribute && H5Awrite(attribute.get(), native(type).get(), value) >= 0, name);
  }

  void attribute(hid_t object, const char* name, const std::string& text) const {
    // HDF5 has no strings of zero bytes; one NUL reads as an empty text.
    const Handle type = text_type(text.empty() ? 1 : text.size());
    attribute(object, name, type.get(), text.c_str());
  }

  void group(const std::string& path) const {
    const Handle creation(H5Pcreate(H5P_GROUP_CREATE), H5Pclose);
    H5Pset_link_creation_order(creation.get(), kOrdered);
    H5Pset_link_phase_change(creation.get(), kMaxCompact, 0);
    H5Pset_obj_track_times(creation.get(), 0);
    check(static_cast<bool>(
              Handle(H5Gcreate2(file(), path.c_str(), H5P_DEFAULT, creation.get(), H5P_DEFAULT), H5Gclose)),
          path);
  }

  void scalar(const std::string& path, hid_t type, const void* value) const {
    const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_obj_track_times(creation.get(), 0);
    H5Pset_alloc_time(creation.get(), H5D_ALLOC_TIME_EARLY);
    const Handle dataset(
        H5Dcreate2(file(), path.c_str(), type, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT), H5Dclose);
    check(dataset && H5Dwrite(dataset.get(), native(type).get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, value) >= 0, path);
  }

  /// An empty dataset whose dimensions all grow.
  Handle growing(const std::string& path, hid_t type, const std::vector<hsize_t>& chunk, const void* fill) const {
    const std::vector<hsize_t> none(chunk.size(), 0);
    const std::vector<hsize_t> unlimited(chunk.size(), H5S_UNLIMITED);
    const int rank = static_cast<int>(chunk.size());
    const Handle space(H5Screate_simple(rank, none.data(), unlimited.data()), H5Sclose);
    const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_chunk(creation.get(), rank, chunk.data());
    if (fill != nullptr) H5Pset_fill_value(creation.get(), native(type).get(), fill);
    H5Pset_attr_creation_order(creation.get(), kOrdered);
    H5Pset_obj_track_times(creation.get(), 0);
    Handle dataset(H5Dcreate2(file(), path.c_str(), type, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
                   H5Dclose);
    check(static_cast<bool>(dataset), path);
    return dataset;
  }

  void describe(const Handle& dataset, std::string_view unit, std::string_view description) const {
    attribute(dataset.get(), "units", std::string(unit));
    attribute(dataset.get(), "long_name", std::string(description));
  }

  void make_scale(const Handle& dataset, const std::string& scale_name) const {
    check(H5DSset_scale(dataset.get(), scale_name.c_str()) >= 0, scale_name);
  }

  void attach(const Handle& dataset, const Handle& scale, unsigned dimension, const std::string& path) const {
    check(H5DSattach_scale(dataset.get(), scale.get(), dimension) >= 0, path);
  }

 private:
  std::filesystem::path path_;
  Handle file_;
};

constexpr double kMissing64 = std::numeric_limits<double>::quiet_NaN();
constexpr float kMissing32 = std::numeric_limits<float>::quiet_NaN();

Handle create_quantity(const Creator& creator, const QuantityInfo& quantity) {
  const bool single = quantity.precision == Precision::kFloat32;
  const std::vector<hsize_t> chunk = quantity.axis == Axis::kRun
                                         ? std::vector<hsize_t>{kColumnChunkRows}
                                         : std::vector<hsize_t>{kMatrixChunkRows, kMatrixChunkColumns};
  Handle dataset = creator.growing(path_of(quantity), single ? H5T_IEEE_F32LE : H5T_IEEE_F64LE, chunk,
                                   single ? static_cast<const void*>(&kMissing32) : &kMissing64);
  creator.describe(dataset, quantity.unit, quantity.description);
  return dataset;
}

void create_info(const Creator& creator, const RunInfo& info) {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  const Handle root(H5Gopen2(creator.file(), "/", H5P_DEFAULT), H5Gclose);
  creator.attribute(root.get(), "schema", std::string(kSchema));
  creator.attribute(root.get(), "schema_version", H5T_STD_I32LE, &kSchemaVersion);
  creator.attribute(root.get(), "schema_minor", H5T_STD_I32LE, &kSchemaMinor);
  creator.attribute(root.get(), "writer_version", std::string(GRADHEALTH_VERSION));
  creator.attribute(root.get(), "hdf5_version",
                    std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release));
  for (const InfoAttribute& text : kInfoTexts)
    creator.attribute(root.get(), text.name, stored_text(info.*text.field, text.width));
  for (const InfoNumber& number : kInfoNumbers)
    if (const std::optional<double>& value = info.*number.field)
      creator.attribute(root.get(), number.name, H5T_IEEE_F64LE, &*value);
}

void create_run_axis(const Creator& creator, const Handle& step) {
  const Handle wall_time = creator.growing(kWallTimePath, H5T_IEEE_F64LE, {kColumnChunkRows}, &kMissing64);
  creator.describe(wall_time, "s", "Since the run was created.");
  creator.attach(wall_time, step, 0, kWallTimePath);
  for (const QuantityInfo& quantity : quantities())
    if (quantity.axis == Axis::kRun)
      creator.attach(create_quantity(creator, quantity), step, 0, path_of(quantity));
}

void create_group_axis(const Creator& creator, Axis axis, const Handle& step) {
  constexpr std::int64_t none = 0;
  creator.group(group_path(axis));
  creator.scalar(committed_path(axis), H5T_STD_I64LE, &none);
  Handle names;
  for (const TextColumn<Subject>& column : kSubjectColumns) {
    const std::string path = path_in(axis, column.name);
    Handle dataset = creator.growing(path, text_type(column.width).get(), {kTableChunkRows}, nullptr);
    if (names) {
      creator.attach(dataset, names, 0, path);
    } else {
      creator.make_scale(dataset, std::string(name(axis)));
      names = std::move(dataset);
    }
  }
  const std::string size_path = path_in(axis, "size");
  creator.attach(creator.growing(size_path, H5T_STD_I64LE, {kTableChunkRows}, &none), names, 0, size_path);
  for (const QuantityInfo& quantity : quantities()) {
    if (quantity.axis != axis) continue;
    const Handle dataset = create_quantity(creator, quantity);
    creator.attach(dataset, step, 0, path_of(quantity));
    creator.attach(dataset, names, 1, path_of(quantity));
  }
}

void create_events(const Creator& creator) {
  constexpr std::int64_t none = 0, no_step = -1;
  creator.group(kEventGroup);
  creator.scalar(kCommittedEventsPath, H5T_STD_I64LE, &none);
  const Handle step = creator.growing(kEventStepPath, H5T_STD_I64LE, {kTableChunkRows}, &no_step);
  creator.make_scale(step, "event");
  for (const TextColumn<Event>& column : kEventColumns) {
    const std::string path = event_path(column.name);
    creator.attach(creator.growing(path, text_type(column.width).get(), {kTableChunkRows}, nullptr), step, 0, path);
  }
}

}  // namespace

Handle file_access() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110);
#if H5_VERSION_GE(1, 12, 1) || (H5_VERS_MINOR == 10 && H5_VERS_RELEASE >= 7)
  H5Pset_file_locking(access.get(), true, true);
#endif
  return access;
}

Handle create_run_file(const std::filesystem::path& path, const std::filesystem::path& shown, const RunInfo& info) {
  Creator creator(path, shown);
  create_info(creator, info);
  constexpr auto running = static_cast<std::int32_t>(FileState::kRunning);
  constexpr std::int64_t none = 0, no_step = -1;
  creator.scalar(kStatePath, H5T_STD_I32LE, &running);
  creator.scalar(kCommittedRowsPath, H5T_STD_I64LE, &none);
  {
    const Handle step = creator.growing(kStepPath, H5T_STD_I64LE, {kColumnChunkRows}, &no_step);
    creator.describe(step, "1", "Optimizer updates before this one.");
    creator.make_scale(step, "step");
    create_run_axis(creator, step);
    for (Axis axis : kGroupAxes) create_group_axis(creator, axis, step);
    create_events(creator);
  }
  creator.check(H5Fflush(creator.file(), H5F_SCOPE_LOCAL) >= 0, "/");
  creator.check(H5Fstart_swmr_write(creator.file()) >= 0, "single-writer mode");
  return creator.release();
}

}  // namespace gradhealth::run_file
