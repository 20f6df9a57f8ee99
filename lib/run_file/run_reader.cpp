#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

#include "run_file/checked_file.h"
#include "run_file/schema.h"

namespace gradhealth {
namespace {

using run_file::CheckedDataset;
using run_file::CheckedFile;

constexpr std::int64_t kMostSubjects = 1'000'000;
constexpr std::int64_t kMostRows = std::int64_t{1} << 40;
constexpr std::int64_t kMostEvents = 1'000'000;
constexpr hsize_t kBlockBytes = 16u << 20;
constexpr hsize_t kMostBlockRows = 1024;
constexpr hsize_t kTextBlock = 4096;

CheckedFile::Type type_of(Precision precision) {
  return precision == Precision::kFloat32 ? CheckedFile::Type::kFloat32 : CheckedFile::Type::kFloat64;
}

std::int64_t checked_count(const CheckedFile& file, const std::string& object, std::int64_t most) {
  const std::int64_t count = file.scalar(object, CheckedFile::Type::kInt64);
  if (count < 0 || count > most) file.damaged(object, fmt::format("has the unreasonable value {}", count));
  return count;
}

void require_rows(const CheckedFile& file, const CheckedDataset& dataset, std::int64_t rows,
                  const std::string& object) {
  if (dataset.size.front() < static_cast<hsize_t>(rows))
    file.damaged(object, fmt::format("has {} rows of {} that were committed", dataset.size.front(), rows));
}

RunInfo read_info(const CheckedFile& file, const std::filesystem::path& path) {
  if (file.text_attribute("schema") != run_file::kSchema)
    throw FormatError(fmt::format("{}: is an HDF5 file, but not a run file of gradhealth", path.string()));
  const double version = file.number_attribute("schema_version").value_or(0);
  if (version != run_file::kMajorVersion)
    throw FormatError(
        fmt::format("{}: has format version {:g}, and this gradhealth reads version {}; use a newer gradhealth",
                    path.string(), version, run_file::kMajorVersion));
  RunInfo info;
  info.name = file.text_attribute("name");
  info.created_utc = file.text_attribute("created_utc");
  info.command_line = file.text_attribute("command_line");
  info.libraries = file.text_attribute("libraries");
  info.optimizer = file.text_attribute("optimizer");
  info.momentum = file.number_attribute("momentum");
  info.beta2 = file.number_attribute("beta2");
  info.epsilon = file.number_attribute("epsilon");
  info.loss_kind = file.text_attribute("loss_kind");
  info.weight_decay = file.number_attribute("weight_decay");
  const double first_step = file.number_attribute("first_step").value_or(0);
  if (!(first_step >= 0 && first_step < static_cast<double>(kMostRows)))
    file.damaged("first_step", fmt::format("has the unreasonable value {:g}", first_step));
  info.first_step = static_cast<std::int64_t>(first_step);
  info.continues = file.text_attribute("continues");
  return info;
}

}  // namespace

class RunReader::Impl {
 public:
  explicit Impl(const std::filesystem::path& path) : path_(path), file_(path) {
    run_.info = read_info(file_, path);
    const std::int64_t state = file_.scalar(run_file::kState, CheckedFile::Type::kInt32);
    if (state < 0 || state > static_cast<std::int64_t>(RunState::kRecovered))
      file_.damaged(run_file::kState, fmt::format("has the unknown value {}", state));
    state_ = static_cast<RunState>(state);
    // Rows first: a live writer may commit in between, and rows must not name subjects that are not read yet.
    rows_ = checked_count(file_, run_file::kCommittedRows, kMostRows);
    for (const Axis axis : run_file::kSubjectAxes) read_subjects(axis);
    event_count_ = checked_count(file_, run_file::kCommittedEvents, kMostEvents);
  }

  void for_each_step(const std::function<void(const StepRecord&)>& visit) const {
    const run_file::QuietErrors quiet;
    const CheckedDataset steps = file_.open(run_file::kStep, CheckedFile::Type::kInt64, 1);
    const CheckedDataset times = file_.open(run_file::kWallTime, CheckedFile::Type::kFloat64, 1);
    require_rows(file_, steps, rows_, run_file::kStep);
    require_rows(file_, times, rows_, run_file::kWallTime);
    std::vector<Column> columns = open_columns();
    hsize_t row_bytes = 16;
    for (const Column& column : columns) row_bytes += column.width * 8;
    const hsize_t block = std::clamp<hsize_t>(kBlockBytes / row_bytes, 1, kMostBlockRows);
    std::vector<Event> events = this->events();
    // An event of no row may have been written ahead of the rows before it.
    std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) { return a.step < b.step; });
    std::size_t next_event = 0;

    StepRecord record;
    std::vector<std::int64_t> step_block;
    std::vector<double> time_block;
    for (hsize_t first = 0; first < static_cast<hsize_t>(rows_); first += block) {
      const hsize_t count = std::min(block, static_cast<hsize_t>(rows_) - first);
      step_block.resize(count);
      time_block.resize(count);
      file_.read(steps, H5T_NATIVE_INT64, {first}, {count}, step_block.data(), run_file::kStep);
      file_.read(times, H5T_NATIVE_DOUBLE, {first}, {count}, time_block.data(), run_file::kWallTime);
      for (Column& column : columns) read_block(column, first, count);
      for (hsize_t i = 0; i < count; ++i) {
        record.clear();
        record.step = step_block[i];
        record.wall_time = time_block[i];
        for (const Column& column : columns) {
          if (column.info->precision == Precision::kFloat32)
            record.assign(column.info->id, column.floats.data() + i * column.width, column.width);
          else
            record.assign(column.info->id, column.doubles.data() + i * column.width, column.width);
        }
        for (; next_event < events.size() && events[next_event].step <= record.step; ++next_event)
          if (events[next_event].step == record.step) record.events.push_back(events[next_event]);
        visit(record);
      }
    }
  }

  std::vector<Event> events() const {
    const run_file::QuietErrors quiet;
    const std::string group = std::string(run_file::kEventGroup) + "/";
    std::vector<Event> events(static_cast<std::size_t>(event_count_));
    if (events.empty()) return events;
    const auto count = static_cast<hsize_t>(event_count_);
    const CheckedDataset steps = file_.open(group + run_file::kStep, CheckedFile::Type::kInt64, 1);
    require_rows(file_, steps, event_count_, group + run_file::kStep);
    std::vector<std::int64_t> numbers(events.size());
    file_.read(steps, H5T_NATIVE_INT64, {0}, {count}, numbers.data(), group + run_file::kStep);
    for (std::size_t i = 0; i < events.size(); ++i) events[i].step = numbers[i];
    constexpr std::string Event::*kMembers[] = {&Event::kind, &Event::subject, &Event::text};
    for (std::size_t column = 0; column < run_file::kEventColumns.size(); ++column)
      read_text(group + run_file::kEventColumns[column].name, count,
                [&](std::size_t i, std::string&& text) { events[i].*kMembers[column] = std::move(text); });
    return events;
  }

  std::filesystem::path path_;
  CheckedFile file_;
  Run run_;
  RunState state_ = RunState::kUnfinished;
  std::int64_t rows_ = 0;
  std::int64_t event_count_ = 0;

 private:
  struct Column {
    const QuantityInfo* info;
    std::string object;
    CheckedDataset dataset;
    std::size_t width;
    std::vector<float> floats;
    std::vector<double> doubles;
  };

  template <typename Put>
  void read_text(const std::string& object, hsize_t count, Put&& put) const {
    const CheckedDataset dataset = file_.open(object, CheckedFile::Type::kText, 1);
    require_rows(file_, dataset, static_cast<std::int64_t>(count), object);
    for (hsize_t first = 0; first < count; first += kTextBlock) {
      std::vector<std::string> texts = file_.read_text(dataset, first, std::min(kTextBlock, count - first), object);
      for (std::size_t i = 0; i < texts.size(); ++i) put(static_cast<std::size_t>(first) + i, std::move(texts[i]));
    }
  }

  void read_subjects(Axis axis) {
    const std::string group = std::string(name(axis)) + "/";
    const std::int64_t count = checked_count(file_, group + run_file::kCommittedSubjects, kMostSubjects);
    if (count == 0) return;
    std::vector<Subject>& subjects = run_.of(axis);
    const CheckedDataset sizes = file_.open(group + run_file::kSubjectSize, CheckedFile::Type::kInt64, 1);
    require_rows(file_, sizes, count, group + run_file::kSubjectSize);
    std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
    file_.read(sizes, H5T_NATIVE_INT64, {0}, {static_cast<hsize_t>(count)}, numbers.data(),
               group + run_file::kSubjectSize);
    subjects.resize(numbers.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) subjects[i].size = numbers[i];
    constexpr std::string Subject::*kMembers[] = {&Subject::name, &Subject::module, &Subject::kind, &Subject::shape,
                                                  &Subject::dtype};
    for (std::size_t column = 0; column < run_file::kSubjectColumns.size(); ++column)
      read_text(group + run_file::kSubjectColumns[column].name, static_cast<hsize_t>(count),
                [&](std::size_t i, std::string&& text) { subjects[i].*kMembers[column] = std::move(text); });
  }

  /// Quantities that the file has; those of a later version of the format are not looked at.
  std::vector<Column> open_columns() const {
    std::vector<Column> columns;
    for (const QuantityInfo& info : quantities()) {
      const std::string object = run_file::path_of(info);
      const bool by_subject = info.axis != Axis::kRun;
      std::optional<CheckedDataset> dataset = file_.find(object, type_of(info.precision), by_subject ? 2 : 1);
      if (!dataset) continue;
      require_rows(file_, *dataset, rows_, object);
      const std::size_t width =
          by_subject ? std::min<std::size_t>(run_.of(info.axis).size(), dataset->size[1]) : std::size_t{1};
      if (width > 0) columns.push_back({&info, object, std::move(*dataset), width, {}, {}});
    }
    return columns;
  }

  void read_block(Column& column, hsize_t first, hsize_t count) const {
    const bool by_subject = column.info->axis != Axis::kRun;
    const std::vector<hsize_t> offset = by_subject ? std::vector<hsize_t>{first, 0} : std::vector<hsize_t>{first};
    const std::vector<hsize_t> size =
        by_subject ? std::vector<hsize_t>{count, column.width} : std::vector<hsize_t>{count};
    if (column.info->precision == Precision::kFloat32) {
      column.floats.resize(count * column.width);
      file_.read(column.dataset, H5T_NATIVE_FLOAT, offset, size, column.floats.data(), column.object);
    } else {
      column.doubles.resize(count * column.width);
      file_.read(column.dataset, H5T_NATIVE_DOUBLE, offset, size, column.doubles.data(), column.object);
    }
  }
};

RunReader::RunReader(const std::filesystem::path& path) {
  const run_file::QuietErrors quiet;
  impl_ = std::make_unique<Impl>(path);
}
RunReader::~RunReader() = default;
RunReader::RunReader(RunReader&&) noexcept = default;
RunReader& RunReader::operator=(RunReader&&) noexcept = default;
const std::filesystem::path& RunReader::path() const { return impl_->path_; }
const Run& RunReader::run() const { return impl_->run_; }
RunState RunReader::state() const { return impl_->state_; }
std::int64_t RunReader::rows() const { return impl_->rows_; }
void RunReader::for_each_step(const std::function<void(const StepRecord&)>& visit) const {
  impl_->for_each_step(visit);
}
std::vector<Event> RunReader::events() const { return impl_->events(); }

}  // namespace gradhealth
