#include "run_file/stored_run.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include <gradhealth/errors.h>

#include "run_file/schema.h"

namespace gradhealth::run_file {
namespace {

constexpr std::int64_t kMostRows = std::int64_t{1} << 40;
constexpr std::int64_t kMostEvents = 1'000'000;
constexpr hsize_t kBlockBytes = 64u << 20;  ///< Of all quantities together.
constexpr hsize_t kMostBlockRows = 1024;
constexpr hsize_t kSmallestPart = 16;  ///< Rows of a damaged file that are given up together.
constexpr std::int64_t kNoStep = std::numeric_limits<std::int64_t>::min();

CheckedFile::Type type_of(Precision precision) {
  return precision == Precision::kFloat32 ? CheckedFile::Type::kFloat32 : CheckedFile::Type::kFloat64;
}

/// Rows of a quantity to read at once: whole chunks, so that none is read or unpacked twice, as far as `bytes` allow.
hsize_t block_rows(const CheckedDataset& dataset, hsize_t row_bytes, hsize_t bytes) {
  const hsize_t most = std::clamp<hsize_t>(bytes / row_bytes, 1, kMostBlockRows);
  const hsize_t chunk = dataset.chunk.empty() ? 1 : dataset.chunk.front();
  return most < chunk ? most : most / chunk * chunk;
}

std::string in_events(const char* column) { return std::string(kEventGroup) + "/" + column; }

}  // namespace

StoredRun::StoredRun(const std::filesystem::path& path, std::vector<LostPart>* lost)
    : path_(path), lost_(lost), file_(path, lost ? CheckedFile::Damage::kTolerated : CheckedFile::Damage::kRefused) {
  read_info();
  read_counts();
}

void StoredRun::read_counts() {
  attempt(kState, 1, 1, [&] {
    const std::int64_t state = file_.scalar(kState, CheckedFile::Type::kInt32);
    if (state < 0 || state > static_cast<std::int64_t>(RunState::kRecovered))
      file_.damaged(kState, fmt::format("has the unknown value {}", state));
    state_ = static_cast<RunState>(state);
  });
  // Rows first: a live writer may commit in between, and rows must not name subjects that are not read yet.
  rows_ = count_of(kCommittedRows, kMostRows, kStep, CheckedFile::Type::kInt64);
  for (const Axis axis : kSubjectAxes) read_subjects(axis);
  event_count_ = count_of(kCommittedEvents, kMostEvents, in_events(kStep), CheckedFile::Type::kInt64);
}

void StoredRun::lose(const std::string& object, std::int64_t count, std::int64_t of, const std::string& reason) const {
  const auto known =
      std::find_if(lost_->begin(), lost_->end(), [&](const LostPart& part) { return part.object == object; });
  if (known == lost_->end())
    lost_->push_back({object, count, of, reason});
  else
    known->count = std::min(known->count + count, of);
}

bool StoredRun::attempt(const std::string& object, std::int64_t count, std::int64_t of,
                        const std::function<void()>& read) const {
  try {
    read();
    return true;
  } catch (const DamagedObject& error) {
    if (lost_ == nullptr) throw;
    lose(object, count, of, error.reason());
    return false;
  }
}

void StoredRun::read_parts(const std::string& object, hsize_t first, hsize_t count, hsize_t of,
                           const ReadPart& read) const {
  if (count == 0) return;
  if (const auto known = unfindable_.find(object); known != unfindable_.end() && known->second.from < first + count) {
    const hsize_t found = std::max(known->second.from, first) - first;
    lose(object, static_cast<std::int64_t>(count - found), static_cast<std::int64_t>(of), known->second.reason);
    return read_parts(object, first, found, of, read);
  }
  try {
    return read(first, count);
  } catch (const DamagedObject& error) {
    if (lost_ == nullptr) throw;
    if (error.lost_from()) {
      unfindable_[object] = {*error.lost_from(), error.reason()};
      return read_parts(object, first, count, of, read);
    }
    if (count <= kSmallestPart)
      return lose(object, static_cast<std::int64_t>(count), static_cast<std::int64_t>(of), error.reason());
  }
  const hsize_t half = (count / 2 + kSmallestPart - 1) / kSmallestPart * kSmallestPart;
  read_parts(object, first, half, of, read);
  read_parts(object, first + half, count - half, of, read);
}

hsize_t StoredRun::readable_end(const CheckedDataset& dataset, hsize_t first, hsize_t count, hsize_t of,
                                const std::string& object) const {
  const hsize_t end = first + count;
  const hsize_t size = dataset.size.front();
  if (size >= end) return end;
  attempt(object, static_cast<std::int64_t>(end - std::max(size, first)), static_cast<std::int64_t>(of),
          [&] { file_.damaged(object, fmt::format("has {} rows of {} that were committed", size, of)); });
  return std::max(size, first);
}

std::vector<StoredRun::Column> StoredRun::open_columns(const Selection& selection) const {
  const std::vector<Quantity>& wanted = selection.quantities;
  std::vector<Column> columns;
  for (const QuantityInfo& info : quantities()) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), info.id) == wanted.end()) continue;
    const std::string object = path_of(info);
    const bool by_subject = info.axis != Axis::kRun;
    attempt(object, rows_, rows_, [&] {
      // Those of a later version of the format are not looked at; what an earlier one does not have is missing.
      std::optional<CheckedDataset> dataset = file_.find(object, type_of(info.precision), by_subject ? 2 : 1);
      if (!dataset) return;
      const auto rows = static_cast<hsize_t>(rows_);
      readable_end(*dataset, 0, rows, rows, object);
      if (!dataset->is_written) return;
      const std::size_t width =
          by_subject ? std::min<std::size_t>(run_.of(info.axis).size(), dataset->size[1]) : std::size_t{1};
      if (width > 0) columns.push_back({&info, object, std::move(*dataset), width});
    });
  }
  for (Column& column : columns) {
    const hsize_t row_bytes = column.width * (column.info->precision == Precision::kFloat32 ? 4 : 8);
    column.block = block_rows(column.dataset, row_bytes, kBlockBytes / columns.size());
  }
  return columns;
}

void StoredRun::read_block(Column& column, hsize_t row) const {
  const bool by_subject = column.info->axis != Axis::kRun;
  const bool single = column.info->precision == Precision::kFloat32;
  column.first = row;
  column.end = std::min((row / column.block + 1) * column.block, static_cast<hsize_t>(rows_));
  const hsize_t end = std::min(column.end, column.dataset.size.front());
  const std::size_t values = static_cast<std::size_t>(column.end - column.first) * column.width;
  const bool whole = lost_ == nullptr && end == column.end;  // Then there is nothing that could be missing.
  if (single)
    whole ? column.floats.resize(values) : column.floats.assign(values, std::numeric_limits<float>::quiet_NaN());
  else
    whole ? column.doubles.resize(values) : column.doubles.assign(values, std::numeric_limits<double>::quiet_NaN());
  if (end <= row) return;
  read_parts(column.object, row, end - row, static_cast<hsize_t>(rows_), [&](hsize_t from, hsize_t rows) {
    const std::vector<hsize_t> offset = by_subject ? std::vector<hsize_t>{from, 0} : std::vector<hsize_t>{from};
    const std::vector<hsize_t> size =
        by_subject ? std::vector<hsize_t>{rows, column.width} : std::vector<hsize_t>{rows};
    const std::size_t at = static_cast<std::size_t>(from - row) * column.width;
    if (single)
      file_.read(column.dataset, H5T_NATIVE_FLOAT, offset, size, column.floats.data() + at, column.object);
    else
      file_.read(column.dataset, H5T_NATIVE_DOUBLE, offset, size, column.doubles.data() + at, column.object);
  });
}

StoredRun::Clock StoredRun::open_clock() const {
  Clock clock;
  const auto rows = static_cast<hsize_t>(rows_);
  attempt(kWallTime, rows_, rows_, [&] {
    clock.times = file_.open(kWallTime, CheckedFile::Type::kFloat64, 1);
    readable_end(clock.times, 0, rows, rows, kWallTime);
  });
  return clock;
}

void StoredRun::read_block(Clock& clock, hsize_t row) const {
  const auto rows = static_cast<hsize_t>(rows_);
  clock.first = row;
  clock.end = std::min((row / kMostBlockRows + 1) * kMostBlockRows, rows);
  clock.steps = read_numbers(kStep, row, clock.end - row, rows, kNoStep);
  clock.seconds.assign(clock.end - row, std::numeric_limits<double>::quiet_NaN());
  if (!clock.times.dataset) return;
  const hsize_t end = std::min(clock.end, clock.times.size.front());
  read_parts(kWallTime, row, std::max(end, row) - row, rows, [&](hsize_t from, hsize_t count) {
    file_.read(clock.times, H5T_NATIVE_DOUBLE, {from}, {count}, clock.seconds.data() + (from - row), kWallTime);
  });
}

void StoredRun::for_each_step(const std::function<void(const StepRecord&)>& visit) const {
  Progress progress;
  progress.events = events();
  for_each_step(visit, progress);
}

void StoredRun::for_each_step(const Selection& selection, const std::function<void(const StepRecord&)>& visit) const {
  Progress progress;
  if (selection.quantities.empty()) progress.events = events();
  for_each_step(visit, progress, selection);
}

void StoredRun::for_each_step(const std::function<void(const StepRecord&)>& visit, Progress& progress,
                              const Selection& selection) const {
  std::vector<Column> columns = open_columns(selection);
  Clock clock = open_clock();
  std::vector<Event>& events = progress.events;
  const std::int64_t visited = progress.last_step;
  // An event of no row may have been written ahead of the rows before it.
  std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) { return a.step < b.step; });
  std::size_t next_event = 0;

  StepRecord record;
  for (auto row = static_cast<hsize_t>(progress.rows); row < static_cast<hsize_t>(rows_); ++row) {
    if (row >= clock.end) read_block(clock, row);
    const std::int64_t step = clock.steps[row - clock.first];
    if (step == kNoStep || step < selection.from_step || step >= selection.until_step) continue;
    for (Column& column : columns)
      if (row >= column.end) read_block(column, row);
    record.clear();
    record.step = step;
    record.wall_time = clock.seconds[row - clock.first];
    for (const Column& column : columns) {
      const std::size_t at = static_cast<std::size_t>(row - column.first) * column.width;
      if (column.info->precision == Precision::kFloat32)
        record.assign(column.info->id, column.floats.data() + at, column.width);
      else
        record.assign(column.info->id, column.doubles.data() + at, column.width);
    }
    for (; next_event < events.size() && events[next_event].step <= record.step; ++next_event)
      if (events[next_event].step == record.step || events[next_event].step <= visited)
        record.events.push_back(events[next_event]);
    progress.last_step = record.step;
    progress.rows = static_cast<std::int64_t>(row) + 1;
    visit(record);
  }
  progress.rows = rows_;
  events.erase(events.begin(), events.begin() + static_cast<std::ptrdiff_t>(next_event));
}

}  // namespace gradhealth::run_file
