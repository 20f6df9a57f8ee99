#include "run_file/file_writer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

namespace gradhealth::run_file {
namespace {

constexpr unsigned kDeflateLevel = 4;  // Higher ones take much longer and save a hundredth.
constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

/// A creation property list for objects that do not keep when they were made: the same run gives the same bytes.
Handle without_times(hid_t object_class) {
  Handle list(H5Pcreate(object_class), &H5Pclose);
  H5Pset_obj_track_times(list.get(), false);
  return list;
}

/// Owns one file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

}  // namespace

void FileWriter::fail(const std::string& object, const std::string& doing) const {
  const std::string reason = last_error();
  require_written();
  throw IoError(fmt::format("{}: /{}: {} failed: {}; is there memory left?", path_.string(), object, doing, reason));
}

void FileWriter::require_written() const {
  if (output_->error == 0) return;
  const bool full = output_->error == ENOSPC || output_->error == EDQUOT || output_->error == EFBIG;
  throw IoError(fmt::format("{}: writing failed: {}; {}", path_.string(), std::strerror(output_->error),
                            full ? "make room, or record to another disk" : "is the disk still there, and sound?"));
}

void FileWriter::create_file() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), &H5Pclose);
  // This format's layout is fixed; "latest" would move with the library, and readers would not follow.
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110);
  const Handle creation = without_times(H5P_FILE_CREATE);
  if (!archive_) {
    // The operating system may be stopped in a write call, and a disk without power, at the border of a page: what lies
    // within one is there as a whole or not at all.
    H5Pset_file_space_strategy(creation.get(), H5F_FSPACE_STRATEGY_PAGE, false, 1);
    H5Pset_file_space_page_size(creation.get(), kPageBytes);
  }
  if (use_output_driver(access.get(), *output_))
    file_ = Handle(H5Fcreate(path_.c_str(), H5F_ACC_EXCL, creation.get(), access.get()), &H5Fclose);
  if (file_) return;
  const std::string reason = last_error();
  throw IoError(fmt::format("{}: cannot be created: {}; choose another path, or make its directory writable",
                            path_.string(), output_->error != 0 ? std::strerror(output_->error) : reason));
}

FileWriter::FileWriter(const std::filesystem::path& path, const Run& run, const Archive& archive)
    : path_(path), archive_(archive) {
  create_file();
  write_info(run.info);
  create_datasets(run);
}

FileWriter::FileWriter(const std::filesystem::path& path, const Run& run, Durability durability)
    : path_(path), durability_(durability) {
  create_file();
  write_info(run.info);
  create_datasets(run);
  if (H5Fflush(file_.get(), H5F_SCOPE_GLOBAL) < 0) fail("", "writing");
  require_written();  // What comes next reads everything anew.
  // From here on HDF5 keeps the file readable after every write call, whenever the process dies.
  if (H5Fstart_swmr_write(file_.get()) < 0) fail("", "going live");
  require_written();
  if (const haddr_t place = H5Dget_offset(state_.get()); place != HADDR_UNDEF)
    state_place_ = static_cast<std::int64_t>(place);
}

Handle FileWriter::open_group(const std::string& object) {
  const Handle creation = without_times(H5P_GROUP_CREATE);
  Handle group(H5Gcreate2(file_.get(), object.c_str(), H5P_DEFAULT, creation.get(), H5P_DEFAULT), &H5Gclose);
  if (!group) fail(object, "creating");
  return group;
}

Handle FileWriter::create(const std::string& object, hid_t type, const std::vector<hsize_t>& chunk, const void* fill) {
  const std::vector<hsize_t> none(chunk.size(), 0);
  const std::vector<hsize_t> unlimited(chunk.size(), H5S_UNLIMITED);
  Handle space(H5Screate_simple(static_cast<int>(chunk.size()), none.data(), unlimited.data()), &H5Sclose);
  const Handle creation = without_times(H5P_DATASET_CREATE);
  H5Pset_chunk(creation.get(), static_cast<int>(chunk.size()), chunk.data());
  if (archive_) {
    H5Pset_shuffle(creation.get());
    H5Pset_deflate(creation.get(), kDeflateLevel);
  }
  if (fill) H5Pset_fill_value(creation.get(), type, fill);
  Handle dataset(H5Dcreate2(file_.get(), object.c_str(), type, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
                 &H5Dclose);
  if (!dataset) fail(object, "creating");
  return dataset;
}

Handle FileWriter::create_scalar(const std::string& object, hid_t type, std::int64_t value) {
  Handle space(H5Screate(H5S_SCALAR), &H5Sclose);
  const Handle creation = without_times(H5P_DATASET_CREATE);
  Handle dataset(H5Dcreate2(file_.get(), object.c_str(), type, space.get(), H5P_DEFAULT, creation.get(), H5P_DEFAULT),
                 &H5Dclose);
  if (!dataset) fail(object, "creating");
  put_scalar(dataset, value, object);
  return dataset;
}

void FileWriter::put_scalar(const Handle& dataset, std::int64_t value, const std::string& object) {
  if (H5Dwrite(dataset.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) < 0) fail(object, "writing");
}

void FileWriter::extend(const Handle& dataset, const std::vector<hsize_t>& size, const std::string& object) {
  if (H5Dset_extent(dataset.get(), size.data()) < 0) fail(object, "extending");
}

void FileWriter::write(const Handle& dataset, hid_t type, const std::vector<hsize_t>& offset,
                       const std::vector<hsize_t>& size, const void* data, const std::string& object) {
  Handle target(H5Dget_space(dataset.get()), &H5Sclose);
  Handle source(H5Screate_simple(static_cast<int>(size.size()), size.data(), nullptr), &H5Sclose);
  if (H5Sselect_hyperslab(target.get(), H5S_SELECT_SET, offset.data(), nullptr, size.data(), nullptr) < 0 ||
      H5Dwrite(dataset.get(), type, source.get(), target.get(), H5P_DEFAULT, data) < 0)
    fail(object, "writing");
}

void FileWriter::append_text(Table& table, std::size_t column, std::size_t width,
                             const std::vector<std::string>& values, const std::string& object) {
  std::vector<char> packed(values.size() * width, '\0');
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::string text = fit(values[i], width);
    std::memcpy(packed.data() + i * width, text.data(), text.size());
  }
  const Handle type = text_type(width);
  const Handle& dataset = table.text[column];
  extend(dataset, {table.count + values.size()}, object);
  write(dataset, type.get(), {table.count}, {values.size()}, packed.data(), object);
}

void FileWriter::append_subjects(Axis axis, const std::vector<const Subject*>& subjects) {
  if (subjects.empty()) return;
  Table& table = subjects_[static_cast<std::size_t>(axis)];
  const std::string group(name(axis));
  std::array<std::vector<std::string>, kSubjectColumns.size()> text;
  std::vector<std::int64_t> sizes;
  for (std::size_t i = 0; i < subjects.size(); ++i) {
    const Subject& subject = *subjects[i];
    std::string unique = subject.name;
    // Names that only differ beyond the width stay different subjects.
    if (unique.size() > kSubjectColumns[0].width)
      unique = fit(unique, kSubjectColumns[0].width - 12) + fmt::format("#{}", table.count + i);
    const std::array<const std::string*, kSubjectColumns.size()> columns{&unique, &subject.module, &subject.kind,
                                                                         &subject.shape, &subject.dtype};
    for (std::size_t column = 0; column < columns.size(); ++column) text[column].push_back(*columns[column]);
    sizes.push_back(subject.size);
  }
  for (std::size_t column = 0; column < text.size(); ++column)
    append_text(table, column, kSubjectColumns[column].width, text[column], group + "/" + kSubjectColumns[column].name);
  extend(table.number, {table.count + subjects.size()}, group + "/" + kSubjectSize);
  write(table.number, H5T_NATIVE_INT64, {table.count}, {sizes.size()}, sizes.data(), group + "/" + kSubjectSize);
  table.count += subjects.size();
}

void FileWriter::append_events(const std::vector<const Event*>& events) {
  if (events.empty()) return;
  std::array<std::vector<std::string>, kEventColumns.size()> text;
  std::vector<std::int64_t> steps;
  for (const Event* event : events) {
    text[0].push_back(event->kind);
    text[1].push_back(event->subject);
    text[2].push_back(event->text);
    steps.push_back(event->step);
  }
  const std::string group(kEventGroup);
  for (std::size_t column = 0; column < text.size(); ++column)
    append_text(events_, column, kEventColumns[column].width, text[column], group + "/" + kEventColumns[column].name);
  extend(events_.number, {events_.count + events.size()}, group + "/" + kStep);
  write(events_.number, H5T_NATIVE_INT64, {events_.count}, {steps.size()}, steps.data(), group + "/" + kStep);
  events_.count += events.size();
}

void FileWriter::append_quantity(const QuantityInfo& quantity, const std::vector<StepRecord>& rows) {
  QuantityColumn& column = quantities_[static_cast<std::size_t>(quantity.id)];
  const std::string object = path_of(quantity);
  const bool by_subject = quantity.axis != Axis::kRun;
  column.rows = rows_ + rows.size();
  column.columns = by_subject ? subjects_[static_cast<std::size_t>(quantity.axis)].count : 1;
  extend(column.dataset,
         by_subject ? std::vector<hsize_t>{column.rows, column.columns} : std::vector<hsize_t>{column.rows}, object);
  // What nobody records takes no room: unwritten parts read as missing, and readers find out that they need not.
  const auto is_recorded = [&](const StepRecord& row) { return !row.values(quantity.id).empty(); };
  const auto first = std::find_if(rows.begin(), rows.end(), is_recorded);
  if (column.columns == 0 || first == rows.end()) return;
  const auto end = std::find_if(rows.rbegin(), rows.rend(), is_recorded).base();
  const auto count = static_cast<std::size_t>(end - first);
  const std::size_t width = static_cast<std::size_t>(column.columns);
  double_buffer_.assign(count * width, kMissing);
  for (std::size_t i = 0; i < count; ++i) {
    const std::vector<double>& values = first[static_cast<std::ptrdiff_t>(i)].values(quantity.id);
    std::copy_n(values.begin(), std::min(values.size(), width),
                double_buffer_.begin() + static_cast<std::ptrdiff_t>(i * width));
  }
  const hsize_t begin = rows_ + static_cast<hsize_t>(first - rows.begin());
  const std::vector<hsize_t> offset = by_subject ? std::vector<hsize_t>{begin, 0} : std::vector<hsize_t>{begin};
  const std::vector<hsize_t> size =
      by_subject ? std::vector<hsize_t>{count, column.columns} : std::vector<hsize_t>{count};
  if (quantity.precision == Precision::kFloat64)
    return write(column.dataset, H5T_NATIVE_DOUBLE, offset, size, double_buffer_.data(), object);
  float_buffer_.resize(double_buffer_.size());
  std::transform(double_buffer_.begin(), double_buffer_.end(), float_buffer_.begin(),
                 [](double value) { return static_cast<float>(value); });
  write(column.dataset, H5T_NATIVE_FLOAT, offset, size, float_buffer_.data(), object);
}

/// HDF5 goes on writing into a file that has no name any more or has been cut off, and reports success.
void FileWriter::require_untouched() {
  struct stat status {};
  if (archive_ || ::fstat(descriptor(), &status) != 0) return;
  if (status.st_nlink == 0)
    throw IoError(
        fmt::format("{}: the file was deleted while it was being written; what it held is lost", path_.string()));
  if (status.st_size < bytes_)
    throw IoError(
        fmt::format("{}: something else cut the file off while it was being written, from {} to {} bytes; "
                    "what gradhealth recover finds in it is left",
                    path_.string(), bytes_, status.st_size));
  bytes_ = status.st_size;
}

/// Returns when the disk has what was written, where that is asked for.
void FileWriter::reach_disk(int descriptor) const {
  if (durability_ != Durability::kPower || ::fdatasync(descriptor) == 0) return;
  throw IoError(fmt::format("{}: the disk did not take what was written: {}; is it full or faulty?", path_.string(),
                            std::strerror(errno)));
}

void FileWriter::commit(const Batch& batch) {
  require_untouched();
  std::array<std::vector<const Subject*>, kAxisCount> subjects;
  for (const auto& [axis, subject] : batch.subjects) subjects[static_cast<std::size_t>(axis)].push_back(&subject);
  for (const Axis axis : kSubjectAxes) append_subjects(axis, subjects[static_cast<std::size_t>(axis)]);
  std::vector<const Event*> events;
  for (const StepRecord& row : batch.rows)
    for (const Event& event : row.events) events.push_back(&event);
  for (const Event& event : batch.events) events.push_back(&event);
  append_events(events);
  if (!batch.rows.empty()) {
    for (const QuantityInfo& quantity : quantities()) append_quantity(quantity, batch.rows);
    std::vector<std::int64_t> steps;
    std::vector<double> times;
    for (const StepRecord& row : batch.rows) {
      steps.push_back(row.step);
      times.push_back(row.wall_time);
    }
    extend(wall_time_, {rows_ + times.size()}, kWallTime);
    write(wall_time_, H5T_NATIVE_DOUBLE, {rows_}, {times.size()}, times.data(), kWallTime);
    extend(step_, {rows_ + steps.size()}, kStep);
    write(step_, H5T_NATIVE_INT64, {rows_}, {steps.size()}, steps.data(), kStep);
    rows_ += steps.size();
  }
  // Only once the data is with the operating system does a reader get to know of it.
  if (!archive_) {
    if (H5Fflush(file_.get(), H5F_SCOPE_GLOBAL) < 0) fail("", "flushing");
    require_written();
    reach_disk(descriptor());
  }
  for (const Axis axis : kSubjectAxes) {
    const Table& table = subjects_[static_cast<std::size_t>(axis)];
    if (subjects[static_cast<std::size_t>(axis)].empty()) continue;
    put_scalar(table.committed, static_cast<std::int64_t>(table.count),
               std::string(name(axis)) + "/" + kCommittedSubjects);
    if (!archive_ && H5Dflush(table.committed.get()) < 0) fail(kCommittedSubjects, "flushing");
  }
  put_scalar(events_.committed, static_cast<std::int64_t>(events_.count), kCommittedEvents);
  put_scalar(committed_rows_, static_cast<std::int64_t>(rows_), kCommittedRows);
  if (archive_) return require_written();
  if (H5Dflush(events_.committed.get()) < 0 || H5Dflush(committed_rows_.get()) < 0) fail(kCommittedRows, "flushing");
  require_written();
  reach_disk(descriptor());
  require_untouched();
}

void FileWriter::finish(RunState state) {
  require_untouched();
  put_scalar(state_, static_cast<std::int64_t>(state), kState);
  if (H5Fflush(file_.get(), H5F_SCOPE_GLOBAL) < 0) fail("", "flushing");
  // HDF5's last word comes with closing, when its own descriptor is gone.
  require_written();
  const Descriptor kept(durability_ == Durability::kPower ? ::dup(descriptor()) : -1);
  abandon();
  require_written();
  if (kept.get() >= 0) reach_disk(kept.get());
}

// Past HDF5, of which nothing reaches the file any more.
void FileWriter::abandon_failed() noexcept {
  if (output_->error == 0) output_->error = EIO;  // Of another reason to stop: nothing more is to be written either.
  const auto state = static_cast<unsigned char>(RunState::kFailed);
  const std::array<unsigned char, 4> bytes{state, 0, 0, 0};  // As stored, little-endian.
  struct stat status {};
  const int file = descriptor();
  const bool there = state_place_ >= 0 && ::fstat(file, &status) == 0 && status.st_size >= state_place_ + 4;
  if (there && ::pwrite(file, bytes.data(), bytes.size(), state_place_) < 0) state_place_ = -1;  // Nothing can be said.
  abandon();
}

// The child shares the parent's descriptor, and when the child exits, its HDF5 closes the file: it may read it, and
// nothing that it writes may get there.
void FileWriter::leave_to_parent() noexcept {
  output_->error = EIO;
  state_place_ = -1;
}

void FileWriter::abandon() noexcept {
  for (QuantityColumn& column : quantities_) column.dataset.reset();
  for (Table& table : subjects_) {
    table.text.clear();
    table.number.reset();
    table.committed.reset();
  }
  events_.text.clear();
  events_.number.reset();
  events_.committed.reset();
  for (Handle* handle : {&state_, &committed_rows_, &step_, &wall_time_, &file_}) handle->reset();
}

}  // namespace gradhealth::run_file
