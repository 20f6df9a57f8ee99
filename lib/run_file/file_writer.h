#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "run_file/entry.h"
#include "run_file/hdf5_handle.h"
#include "run_file/schema.h"

namespace gradhealth::run_file {

/// Appends batches to a live run file and commits them. Knows nothing of threads and queues.
/// After an IoError only `abandon()` may follow: HDF5 reports success for later writes whose data is lost.
class FileWriter {
 public:
  /// @param file as create_run_file() returns it.
  /// @param path the file's name, for messages.
  /// @throws IoError
  FileWriter(Handle file, const std::filesystem::path& path);
  FileWriter(FileWriter&&) noexcept = default;
  FileWriter& operator=(FileWriter&&) noexcept = default;

  /// Writes the batch; when this returns, readers find it whatever happens to this process.
  /// @throws IoError
  void write(const Batch& batch);
  /// Sets /state and closes the file.
  /// @throws IoError
  void finish(FileState state);
  /// Closes the file after a failure, and says so in /state where the disk still takes four bytes.
  void abandon() noexcept;

  std::int64_t committed_rows() const { return committed_rows_; }
  /// The file's descriptor, for as long as it is open.
  int descriptor() const;

 private:
  struct Dataset {
    std::string path;
    Handle handle;
  };
  struct SubjectTable {
    std::vector<Dataset> texts;
    Dataset size;
    Dataset committed;
    std::int64_t count = 0;
    bool grown = false;
  };

  Dataset open(const std::string& path) const;
  void check(bool good, const std::string& object, const char* doing) const;
  void resize(const Dataset& dataset, std::int64_t rows, std::int64_t columns) const;
  void write_block(const Dataset& dataset, hid_t type, const std::array<hsize_t, 2>& start,
                   const std::array<hsize_t, 2>& count, const void* values) const;
  void write_scalar(const Dataset& dataset, hid_t type, const void* value) const;
  template <class Record, std::size_t N>
  void write_texts(const std::vector<Dataset>& tables, const std::array<TextColumn<Record>, N>& columns,
                   std::int64_t first, const std::vector<const Record*>& records) const;

  void write_subjects(const Batch& batch);
  void write_rows(const Batch& batch, std::size_t rows);
  template <class Real>
  void write_quantity(const QuantityInfo& quantity, const Batch& batch, std::size_t rows);
  void write_events(const Batch& batch);
  void commit(std::int64_t rows);
  void check_not_deleted() const;
  void close_file();

  std::filesystem::path path_;
  Handle file_;
  Dataset state_, committed_rows_dataset_, step_, wall_time_;
  std::vector<Dataset> quantities_;
  std::array<SubjectTable, kAxisCount> subjects_;
  std::vector<Dataset> event_texts_;
  Dataset event_step_, committed_events_;
  std::int64_t committed_rows_ = 0;
  std::int64_t events_ = 0;
  bool events_grown_ = false;
};

}  // namespace gradhealth::run_file
