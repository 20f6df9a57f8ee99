#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

#include "run_file/input_file.h"
#include "run_file/schema.h"

namespace gradhealth {
namespace {

using run_file::InputDataset;
using run_file::InputFile;
using run_file::ValueType;

/// Bound of the values held at once by for_each_step.
constexpr std::uint64_t kBlockBytes = 32u << 20;
constexpr std::uint64_t kMaxBlockRows = 4096;
/// Rows of a text table read at once.
constexpr std::int64_t kTextRows = 1024;
/// Deflate packs a run of equal bytes no tighter than this.
constexpr std::uint64_t kMaxCompression = 1100;

/// The record forgets missing values at the end of a row: most quantities have none at most steps.
template <class Real>
std::size_t without_missing_end(const Real* values, std::size_t count) {
  while (count > 0 && values[count - 1] != values[count - 1]) --count;
  return count;
}

/// The rows of one quantity that are in memory.
struct Column {
  Quantity quantity;
  InputDataset dataset;
  std::uint64_t width;
  std::vector<float> singles;
  std::vector<double> doubles;

  bool is_single() const { return info(quantity).precision == Precision::kFloat32; }
  std::uint64_t row_bytes() const { return width * (is_single() ? sizeof(float) : sizeof(double)); }

  void read(const InputFile& file, std::uint64_t first, std::uint64_t rows) {
    if (is_single())
      read_into(singles, file, first, rows);
    else
      read_into(doubles, file, first, rows);
  }

  void assign_row(StepRecord& record, std::size_t row) const {
    if (is_single())
      record.assign(quantity, singles.data() + row * width, without_missing_end(singles.data() + row * width, width));
    else
      record.assign(quantity, doubles.data() + row * width, without_missing_end(doubles.data() + row * width, width));
  }

 private:
  template <class Real>
  void read_into(std::vector<Real>& values, const InputFile& file, std::uint64_t first, std::uint64_t rows) const {
    // A file can leave fill values undefined; then HDF5 leaves the memory as it was.
    values.assign(rows * width, std::numeric_limits<Real>::quiet_NaN());
    file.read(dataset, first, rows, width, values.data());
  }
};

}  // namespace

class RunReader::Impl {
 public:
  explicit Impl(const std::filesystem::path& path) : file_(path) {
    read_schema();
    // Before everything that it promises: a live file may grow meanwhile, never shrink.
    rows_ = read_count(run_file::kCommittedRowsPath, std::numeric_limits<std::int64_t>::max());
    read_state();
    read_info();
    for (Axis axis : run_file::kGroupAxes) read_subjects(axis);
    step_ = file_.open(run_file::kStepPath, ValueType::kInt64, 1);
    wall_time_ = file_.open(run_file::kWallTimePath, ValueType::kFloat64, 1);
    check_holds(step_, rows_, 1);
    check_holds(wall_time_, rows_, 1);
    check_stored(step_, rows_, sizeof(std::int64_t));
  }

  const InputFile& file() const { return file_; }
  const Run& run() const { return run_; }
  RunState state() const { return state_; }
  std::int64_t rows() const { return rows_; }

  void for_each_step(const std::function<void(const StepRecord&)>& visit) const;
  std::vector<Event> events() const;

 private:
  void read_schema() const;
  void read_state();
  void read_info();
  std::int64_t read_count(const std::string& path, std::int64_t limit) const;
  void read_subjects(Axis axis);
  std::vector<Column> open_columns() const;
  void check_holds(const InputDataset& dataset, std::int64_t rows, std::int64_t columns) const;
  void check_stored(const InputDataset& dataset, std::int64_t rows, std::size_t row_bytes) const;

  InputFile file_;
  Run run_;
  RunState state_ = RunState::kUnfinished;
  std::int64_t rows_ = 0;
  InputDataset step_, wall_time_;
};

void RunReader::Impl::read_schema() const {
  const std::optional<std::string> schema = file_.text_attribute("schema");
  if (schema != run_file::kSchema)
    throw FormatError(run_file::message(file_.path(), "", "is an HDF5 file, but not a run file of gradhealth",
                                        "name a file that gradhealth has recorded"));
  const std::optional<std::int64_t> version = file_.integer_attribute("schema_version");
  if (!version || *version < 1) file_.damaged("schema_version", "is missing or not a version");
  if (*version > run_file::kSchemaVersion)
    throw FormatError(run_file::message(file_.path(), "schema_version",
                                        fmt::format("is {}, and this gradhealth reads up to {}", *version,
                                                    run_file::kSchemaVersion),
                                        "use a newer gradhealth"));
}

void RunReader::Impl::read_state() {
  const std::int64_t state = file_.read_scalar(file_.open(run_file::kStatePath, ValueType::kInt32, 0));
  switch (static_cast<run_file::FileState>(state)) {
    case run_file::FileState::kRunning: state_ = RunState::kUnfinished; return;
    case run_file::FileState::kFinished: state_ = RunState::kFinished; return;
    case run_file::FileState::kFailed: state_ = RunState::kFailed; return;
    case run_file::FileState::kRecovered: state_ = RunState::kRecovered; return;
  }
  file_.damaged(run_file::kStatePath, fmt::format("is {}", state));
}

void RunReader::Impl::read_info() {
  for (const run_file::InfoAttribute& text : run_file::kInfoTexts)
    run_.info.*text.field = file_.text_attribute(text.name).value_or("");
  for (const run_file::InfoNumber& number : run_file::kInfoNumbers)
    run_.info.*number.field = file_.real_attribute(number.name);
}

std::int64_t RunReader::Impl::read_count(const std::string& path, std::int64_t limit) const {
  const std::int64_t count = file_.read_scalar(file_.open(path, ValueType::kInt64, 0));
  if (count < 0 || count > limit) file_.damaged(path, fmt::format("is {}", count));
  return count;
}

void RunReader::Impl::check_holds(const InputDataset& dataset, std::int64_t rows, std::int64_t columns) const {
  if (dataset.extent[0] < static_cast<std::uint64_t>(rows))
    file_.damaged(dataset.path, fmt::format("has {} of {} rows", dataset.extent[0], rows));
  if (dataset.rank == 2 && rows > 0 && dataset.extent[1] < static_cast<std::uint64_t>(columns))
    file_.damaged(dataset.path, fmt::format("has {} of {} columns", dataset.extent[1], columns));
}

// Unallocated chunks cost a file nothing: without this a small file could keep a reader busy for days.
void RunReader::Impl::check_stored(const InputDataset& dataset, std::int64_t rows, std::size_t row_bytes) const {
  const std::uint64_t bytes = dataset.stored_bytes * (dataset.is_filtered ? kMaxCompression : 1);
  if (bytes / row_bytes < static_cast<std::uint64_t>(rows))
    file_.damaged(dataset.path, fmt::format("claims {} rows in {} bytes", rows, dataset.stored_bytes));
}

void RunReader::Impl::read_subjects(Axis axis) {
  const std::int64_t count = read_count(run_file::committed_path(axis), run_file::kMaxSubjects);
  std::vector<Subject>& subjects = run_.of(axis);
  for (const run_file::TextColumn<Subject>& column : run_file::kSubjectColumns) {
    const InputDataset dataset = file_.open(run_file::path_in(axis, column.name), ValueType::kText, 1);
    check_holds(dataset, count, 1);
    check_stored(dataset, count, dataset.text_width);
    subjects.resize(static_cast<std::size_t>(count));
    for (std::int64_t first = 0; first < count; first += kTextRows) {
      std::vector<std::string> texts = file_.read_texts(dataset, static_cast<std::uint64_t>(first),
                                                        static_cast<std::uint64_t>(std::min(kTextRows, count - first)));
      for (std::size_t i = 0; i < texts.size(); ++i)
        subjects[static_cast<std::size_t>(first) + i].*column.field = std::move(texts[i]);
    }
  }
  const InputDataset size = file_.open(run_file::path_in(axis, "size"), ValueType::kInt64, 1);
  check_holds(size, count, 1);
  std::vector<std::int64_t> sizes(static_cast<std::size_t>(count));
  if (count > 0) file_.read(size, 0, sizes.size(), sizes.data());
  for (std::size_t i = 0; i < sizes.size(); ++i) subjects[i].size = sizes[i];
}

std::vector<Column> RunReader::Impl::open_columns() const {
  std::vector<Column> columns;
  for (const QuantityInfo& quantity : quantities()) {
    const bool single = quantity.precision == Precision::kFloat32;
    const bool of_run = quantity.axis == Axis::kRun;
    std::optional<InputDataset> dataset = file_.find(
        run_file::path_of(quantity), single ? ValueType::kFloat32 : ValueType::kFloat64, of_run ? 1 : 2);
    // A file of an older minor version may lack the quantity; one never recorded takes no space.
    if (!dataset) continue;
    const std::size_t width = of_run ? 1 : run_.of(quantity.axis).size();
    check_holds(*dataset, rows_, static_cast<std::int64_t>(width));
    if (width == 0 || dataset->stored_bytes == 0) continue;
    columns.push_back({quantity.id, std::move(*dataset), width, {}, {}});
  }
  return columns;
}

void RunReader::Impl::for_each_step(const std::function<void(const StepRecord&)>& visit) const {
  std::vector<Column> columns = open_columns();
  std::vector<Event> happened = events();
  std::stable_sort(happened.begin(), happened.end(), [](const Event& a, const Event& b) { return a.step < b.step; });

  std::uint64_t row_bytes = sizeof(std::int64_t) + sizeof(double);
  for (const Column& column : columns) row_bytes += column.row_bytes();
  std::uint64_t block_rows = std::clamp<std::uint64_t>(kBlockBytes / row_bytes, 1, kMaxBlockRows);
  // Whole chunks, so that each is read once.
  if (block_rows > run_file::kMatrixChunkRows) block_rows -= block_rows % run_file::kMatrixChunkRows;

  std::vector<std::int64_t> steps;
  std::vector<double> times;
  StepRecord record;
  const auto end = static_cast<std::uint64_t>(rows_);
  for (std::uint64_t first = 0; first < end; first += block_rows) {
    const std::uint64_t rows = std::min(block_rows, end - first);
    const run_file::QuietErrors quiet;
    steps.resize(rows);
    times.resize(rows);
    file_.read(step_, first, rows, steps.data());
    file_.read(wall_time_, first, rows, 1, times.data());
    for (Column& column : columns) column.read(file_, first, rows);
    for (std::size_t row = 0; row < rows; ++row) {
      record.clear();
      record.step = steps[row];
      record.wall_time = times[row];
      const auto earliest = std::lower_bound(happened.begin(), happened.end(), record.step,
                                             [](const Event& event, std::int64_t step) { return event.step < step; });
      for (auto event = earliest; event != happened.end() && event->step == record.step; ++event)
        record.events.push_back(*event);
      for (const Column& column : columns) column.assign_row(record, row);
      visit(record);
    }
  }
}

std::vector<Event> RunReader::Impl::events() const {
  const std::int64_t count = read_count(run_file::kCommittedEventsPath, run_file::kMaxEvents);
  std::vector<Event> events(static_cast<std::size_t>(count));
  for (const run_file::TextColumn<Event>& column : run_file::kEventColumns) {
    const InputDataset dataset = file_.open(run_file::event_path(column.name), ValueType::kText, 1);
    check_holds(dataset, count, 1);
    check_stored(dataset, count, dataset.text_width);
    for (std::int64_t first = 0; first < count; first += kTextRows) {
      std::vector<std::string> texts = file_.read_texts(dataset, static_cast<std::uint64_t>(first),
                                                        static_cast<std::uint64_t>(std::min(kTextRows, count - first)));
      for (std::size_t i = 0; i < texts.size(); ++i)
        events[static_cast<std::size_t>(first) + i].*column.field = std::move(texts[i]);
    }
  }
  const InputDataset step = file_.open(run_file::kEventStepPath, ValueType::kInt64, 1);
  check_holds(step, count, 1);
  std::vector<std::int64_t> steps(events.size());
  if (count > 0) file_.read(step, 0, steps.size(), steps.data());
  for (std::size_t i = 0; i < steps.size(); ++i) events[i].step = steps[i];
  return events;
}

RunReader::RunReader(const std::filesystem::path& path) {
  const run_file::QuietErrors quiet;
  impl_ = std::make_unique<Impl>(path);
}

RunReader::~RunReader() = default;
RunReader::RunReader(RunReader&&) noexcept = default;
RunReader& RunReader::operator=(RunReader&&) noexcept = default;

const std::filesystem::path& RunReader::path() const { return impl_->file().path(); }

const Run& RunReader::run() const { return impl_->run(); }

RunState RunReader::state() const { return impl_->state(); }

std::int64_t RunReader::rows() const { return impl_->rows(); }

void RunReader::for_each_step(const std::function<void(const StepRecord&)>& visit) const {
  const run_file::QuietErrors quiet;
  impl_->for_each_step(visit);
}

std::vector<Event> RunReader::events() const {
  const run_file::QuietErrors quiet;
  return impl_->events();
}

}  // namespace gradhealth
