#include "run_file/file_writer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include <gradhealth/errors.h>

#include "run_file/stored_text.h"

namespace gradhealth::run_file {
namespace {

/// Bound of the buffer in which values are gathered for one call of HDF5.
constexpr std::size_t kBlockBytes = 4u << 20;

constexpr const char* kDiskAdvice = "recording has ended here, what was committed is readable; check the disk's free space";

template <class Real>
hid_t native_real();
template <>
hid_t native_real<float>() {
  return H5T_NATIVE_FLOAT;
}
template <>
hid_t native_real<double>() {
  return H5T_NATIVE_DOUBLE;
}

Handle text_in_memory(std::size_t width) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), width);
  H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

}  // namespace

FileWriter::FileWriter(Handle file, const std::filesystem::path& path) : path_(path), file_(std::move(file)) {
  state_ = open(kStatePath);
  committed_rows_dataset_ = open(kCommittedRowsPath);
  step_ = open(kStepPath);
  wall_time_ = open(kWallTimePath);
  for (const QuantityInfo& quantity : quantities()) quantities_.push_back(open(path_of(quantity)));
  for (Axis axis : kGroupAxes) {
    SubjectTable& table = subjects_[static_cast<std::size_t>(axis)];
    for (const TextColumn<Subject>& column : kSubjectColumns) table.texts.push_back(open(path_in(axis, column.name)));
    table.size = open(path_in(axis, "size"));
    table.committed = open(committed_path(axis));
  }
  for (const TextColumn<Event>& column : kEventColumns) event_texts_.push_back(open(event_path(column.name)));
  event_step_ = open(kEventStepPath);
  committed_events_ = open(kCommittedEventsPath);
}

FileWriter::Dataset FileWriter::open(const std::string& path) const {
  Dataset dataset{path, Handle(H5Dopen2(file_.get(), path.c_str(), H5P_DEFAULT), H5Dclose)};
  check(static_cast<bool>(dataset.handle), path, "open");
  return dataset;
}

void FileWriter::check(bool good, const std::string& object, const char* doing) const {
  if (!good) throw IoError(message(path_, object, fmt::format("cannot {}: {}", doing, library_words()), kDiskAdvice));
}

void FileWriter::resize(const Dataset& dataset, std::int64_t rows, std::int64_t columns) const {
  const std::array<hsize_t, 2> extent{static_cast<hsize_t>(rows), static_cast<hsize_t>(columns)};
  check(H5Dset_extent(dataset.handle.get(), extent.data()) >= 0, dataset.path, "grow");
}

void FileWriter::write_block(const Dataset& dataset, hid_t type, const std::array<hsize_t, 2>& start,
                             const std::array<hsize_t, 2>& count, const void* values) const {
  const Handle target(H5Dget_space(dataset.handle.get()), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(target.get());
  const Handle source(H5Screate_simple(rank, count.data(), nullptr), H5Sclose);
  check(H5Sselect_hyperslab(target.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) >= 0 &&
            H5Dwrite(dataset.handle.get(), type, source.get(), target.get(), H5P_DEFAULT, values) >= 0,
        dataset.path, "write");
}

void FileWriter::write_scalar(const Dataset& dataset, hid_t type, const void* value) const {
  check(H5Dwrite(dataset.handle.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, value) >= 0 &&
            H5Dflush(dataset.handle.get()) >= 0,
        dataset.path, "write");
}

template <class Record, std::size_t N>
void FileWriter::write_texts(const std::vector<Dataset>& tables, const std::array<TextColumn<Record>, N>& columns,
                             std::int64_t first, const std::vector<const Record*>& records) const {
  std::vector<char> block;
  for (std::size_t i = 0; i < N; ++i) {
    const std::size_t width = columns[i].width;
    block.assign(records.size() * width, '\0');
    for (std::size_t j = 0; j < records.size(); ++j) {
      const std::string& whole = records[j]->*columns[i].field;
      const std::string text =
          columns[i].role == TextRole::kIdentity ? stored_name(whole, width) : stored_text(whole, width);
      std::copy(text.begin(), text.end(), block.begin() + static_cast<std::ptrdiff_t>(j * width));
    }
    resize(tables[i], first + static_cast<std::int64_t>(records.size()), 0);
    write_block(tables[i], text_in_memory(width).get(), {static_cast<hsize_t>(first), 0}, {records.size(), 0},
                block.data());
  }
}

void FileWriter::write(const Batch& batch) {
  const auto rows = static_cast<std::size_t>(
      std::count_if(batch.begin(), batch.end(), [](const auto& entry) { return entry->has_row; }));
  write_subjects(batch);
  if (rows > 0) write_rows(batch, rows);
  write_events(batch);
  commit(committed_rows_ + static_cast<std::int64_t>(rows));
}

void FileWriter::write_subjects(const Batch& batch) {
  for (Axis axis : kGroupAxes) {
    std::vector<const Subject*> added;
    for (const auto& entry : batch)
      for (const Subject& subject : entry->new_subjects[static_cast<std::size_t>(axis)]) added.push_back(&subject);
    SubjectTable& table = subjects_[static_cast<std::size_t>(axis)];
    if (added.empty()) continue;
    const std::int64_t count = table.count + static_cast<std::int64_t>(added.size());
    if (count > kMaxSubjects)
      throw IoError(message(path_, group_path(axis), fmt::format("more than {} subjects", kMaxSubjects),
                            "record fewer names; what was committed is readable"));
    write_texts(table.texts, kSubjectColumns, table.count, added);
    std::vector<std::int64_t> sizes;
    for (const Subject* subject : added) sizes.push_back(subject->size);
    resize(table.size, count, 0);
    write_block(table.size, H5T_NATIVE_INT64, {static_cast<hsize_t>(table.count), 0}, {sizes.size(), 0}, sizes.data());
    table.count = count;
    table.grown = true;
  }
}

void FileWriter::write_rows(const Batch& batch, std::size_t rows) {
  for (const QuantityInfo& quantity : quantities()) {
    if (quantity.precision == Precision::kFloat32)
      write_quantity<float>(quantity, batch, rows);
    else
      write_quantity<double>(quantity, batch, rows);
  }
  std::vector<double> times;
  std::vector<std::int64_t> steps;
  for (const auto& entry : batch) {
    if (!entry->has_row) continue;
    times.push_back(entry->wall_time);
    steps.push_back(entry->step);
  }
  const std::array<hsize_t, 2> start{static_cast<hsize_t>(committed_rows_), 0};
  const std::int64_t end = committed_rows_ + static_cast<std::int64_t>(rows);
  resize(wall_time_, end, 0);
  write_block(wall_time_, H5T_NATIVE_DOUBLE, start, {rows, 0}, times.data());
  // Last, so that a reader which sees a step finds its values.
  resize(step_, end, 0);
  write_block(step_, H5T_NATIVE_INT64, start, {rows, 0}, steps.data());
}

template <class Real>
void FileWriter::write_quantity(const QuantityInfo& quantity, const Batch& batch, std::size_t rows) {
  const auto id = static_cast<std::size_t>(quantity.id);
  const Dataset& dataset = quantities_[id];
  const std::int64_t subjects =
      quantity.axis == Axis::kRun ? 1 : subjects_[static_cast<std::size_t>(quantity.axis)].count;
  // Every matrix of an axis has the same extent, whatever is in it; only chunks that hold values take space.
  resize(dataset, committed_rows_ + static_cast<std::int64_t>(rows), subjects);

  std::size_t width = 0;
  for (const auto& entry : batch) width = std::max(width, entry->counts[id]);
  width = std::min(width, static_cast<std::size_t>(subjects));
  if (width == 0) return;

  const std::size_t block_rows = std::max<std::size_t>(1, kBlockBytes / (width * sizeof(Real)));
  std::vector<Real> block;
  auto first = static_cast<hsize_t>(committed_rows_);
  const auto write_gathered = [&] {
    if (block.empty()) return;
    const hsize_t count = block.size() / width;
    write_block(dataset, native_real<Real>(), {first, 0}, {count, width}, block.data());
    first += count;
    block.clear();
  };
  for (const auto& entry : batch) {
    if (!entry->has_row) continue;
    std::size_t offset = 0;
    for (std::size_t i = 0; i < id; ++i) offset += entry->counts[i];
    const std::size_t count = std::min(entry->counts[id], width);
    for (std::size_t i = 0; i < count; ++i) block.push_back(static_cast<Real>(entry->values[offset + i]));
    block.insert(block.end(), width - count, std::numeric_limits<Real>::quiet_NaN());
    if (block.size() >= block_rows * width) write_gathered();
  }
  write_gathered();
}

void FileWriter::write_events(const Batch& batch) {
  std::vector<const Event*> added;
  for (const auto& entry : batch)
    for (const Event& event : entry->events) added.push_back(&event);
  Event last;
  const auto room = static_cast<std::size_t>(kMaxEvents - events_);
  if (added.size() >= room && room > 0) {
    added.resize(room);
    last = {added.back()->step, "monitor", "", fmt::format("the table of {} events is full: later ones are missing", kMaxEvents)};
    added.back() = &last;
  }
  if (added.empty() || room == 0) return;
  write_texts(event_texts_, kEventColumns, events_, added);
  std::vector<std::int64_t> steps;
  for (const Event* event : added) steps.push_back(event->step);
  resize(event_step_, events_ + static_cast<std::int64_t>(added.size()), 0);
  write_block(event_step_, H5T_NATIVE_INT64, {static_cast<hsize_t>(events_), 0}, {steps.size(), 0}, steps.data());
  events_ += static_cast<std::int64_t>(added.size());
  events_grown_ = true;
}

void FileWriter::commit(std::int64_t rows) {
  // The whole file, not single datasets: the end of the file in the superblock must be right too.
  check(H5Fflush(file_.get(), H5F_SCOPE_LOCAL) >= 0, "", "flush");
  check_not_deleted();
  for (SubjectTable& table : subjects_) {
    if (!table.grown) continue;
    write_scalar(table.committed, H5T_NATIVE_INT64, &table.count);
    table.grown = false;
  }
  if (events_grown_) write_scalar(committed_events_, H5T_NATIVE_INT64, &events_);
  events_grown_ = false;
  // After the counts that the rows depend on.
  if (rows > committed_rows_) write_scalar(committed_rows_dataset_, H5T_NATIVE_INT64, &rows);
  committed_rows_ = rows;
}

int FileWriter::descriptor() const {
  void* descriptor = nullptr;
  if (!file_ || H5Fget_vfd_handle(file_.get(), H5P_DEFAULT, &descriptor) < 0) return -1;
  return *static_cast<int*>(descriptor);
}

void FileWriter::check_not_deleted() const {
  struct stat status {};
  if (::fstat(descriptor(), &status) == 0 && status.st_nlink == 0)
    throw IoError(message(path_, "", "the file was deleted while it was being recorded",
                          "recording has ended here; record to a directory that nothing cleans up"));
}

void FileWriter::finish(FileState state) {
  const auto number = static_cast<std::int32_t>(state);
  if (state != FileState::kRunning) write_scalar(state_, H5T_NATIVE_INT32, &number);
  check(H5Fflush(file_.get(), H5F_SCOPE_LOCAL) >= 0, "", "flush");
  check_not_deleted();
  close_file();
}

void FileWriter::abandon() noexcept {
  if (!file_) return;
  const int copy = ::dup(descriptor());
  const haddr_t offset = H5Dget_offset(state_.handle.get());
  try {
    close_file();
  } catch (...) {
    // The file has failed already; nothing more can be said.
  }
  // Not through HDF5, whose view of the file cannot be trusted any more: the four bytes are allocated
  // and stay where they are.
  const std::array<unsigned char, 4> little_endian{static_cast<unsigned char>(FileState::kFailed), 0, 0, 0};
  if (copy >= 0 && offset != HADDR_UNDEF)
    static_cast<void>(::pwrite(copy, little_endian.data(), little_endian.size(), static_cast<off_t>(offset)) == 0);
  if (copy >= 0) ::close(copy);
}

void FileWriter::close_file() {
  state_ = {};
  committed_rows_dataset_ = {};
  step_ = {};
  wall_time_ = {};
  quantities_.clear();
  subjects_ = {};
  event_texts_.clear();
  event_step_ = {};
  committed_events_ = {};
  const Handle file = std::move(file_);
}

}  // namespace gradhealth::run_file
