#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <gradhealth/run.h>
#include <gradhealth/run_file.h>

#include "run_file/checked_file.h"

namespace gradhealth::run_file {

/// Where to go on in a file that grows.
struct Progress {
  std::int64_t rows = 0;        ///< Visited so far.
  std::vector<Event> events{};  ///< Of steps to come.
  std::int64_t last_step = std::numeric_limits<std::int64_t>::min();  ///< Of the rows visited so far.
};

/// A run file as it was when it was opened.
class StoredRun {
 public:
  /// @param lost where to note what is damaged, which then counts as missing; nullptr: damage is an error.
  explicit StoredRun(const std::filesystem::path& path, std::vector<LostPart>* lost = nullptr);

  /// Every row, each with the events of its step.
  void for_each_step(const std::function<void(const StepRecord&)>& visit) const;
  void for_each_step(const Selection& selection, const std::function<void(const StepRecord&)>& visit) const;
  /// The same from where `progress` stands, with its events; those of steps that were visited earlier come with the
  /// first row. Moves `progress` on.
  void for_each_step(const std::function<void(const StepRecord&)>& visit, Progress& progress,
                     const Selection& selection = {}) const;
  /// In the order written.
  std::vector<Event> events(std::int64_t from = 0) const;

  const std::filesystem::path& path() const { return path_; }
  const Run& run() const { return run_; }
  RunState state() const { return state_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t event_count() const { return event_count_; }
  const std::string& writer_version() const { return writer_version_; }

 private:
  /// A quantity that the file has, and those of its rows that are in memory.
  struct Column {
    const QuantityInfo* info;
    std::string object;
    CheckedDataset dataset;
    std::size_t width;
    hsize_t block = 1;        ///< Rows that are read at once, from a multiple of them.
    hsize_t first = 0;        ///< In memory: from here …
    hsize_t end = 0;          ///< … to before here.
    std::vector<float> floats{};
    std::vector<double> doubles{};
  };
  /// The same of the two columns that every row has.
  struct Clock {
    CheckedDataset times;
    hsize_t first = 0;
    hsize_t end = 0;
    std::vector<std::int64_t> steps{};
    std::vector<double> seconds{};
  };
  /// Rows that HDF5 cannot find. Each attempt takes it a millisecond, so there is only one.
  struct Unfindable {
    hsize_t from;
    std::string reason;
  };
  using ReadPart = std::function<void(hsize_t first, hsize_t count)>;

  void read_info();
  void read_counts();
  void read_subjects(Axis axis);
  std::int64_t count_of(const std::string& counter, std::int64_t most, const std::string& counted,
                        CheckedFile::Type type) const;
  std::vector<std::int64_t> read_numbers(const std::string& object, hsize_t first, hsize_t count, hsize_t of,
                                         std::int64_t missing) const;
  void read_text(const std::string& object, hsize_t first, hsize_t count,
                 const std::function<void(std::size_t, std::string&&)>& put) const;
  std::vector<Column> open_columns(const Selection& selection) const;
  void read_block(Column& column, hsize_t row) const;
  Clock open_clock() const;
  void read_block(Clock& clock, hsize_t row) const;
  /// The end of the entries from `first` to `first + count` that the dataset is long enough for.
  hsize_t readable_end(const CheckedDataset& dataset, hsize_t first, hsize_t count, hsize_t of,
                       const std::string& object) const;

  /// Runs `read` over a range; of a damaged file, over the parts of it that can be read.
  void read_parts(const std::string& object, hsize_t first, hsize_t count, hsize_t of, const ReadPart& read) const;
  /// Runs `read`; of a damaged file, notes that `count` of `of` are lost where it fails.
  bool attempt(const std::string& object, std::int64_t count, std::int64_t of, const std::function<void()>& read) const;
  void lose(const std::string& object, std::int64_t count, std::int64_t of, const std::string& reason) const;

  std::filesystem::path path_;
  std::vector<LostPart>* lost_;
  mutable std::map<std::string, Unfindable> unfindable_;  ///< By object.
  CheckedFile file_;
  Run run_;
  RunState state_ = RunState::kUnfinished;
  std::int64_t rows_ = 0;
  std::int64_t event_count_ = 0;
  std::string writer_version_;
};

}  // namespace gradhealth::run_file
