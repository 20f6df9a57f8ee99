#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gradhealth/run.h>
#include <gradhealth/run_file.h>

#include "run_file/hdf5_handle.h"
#include "run_file/output_driver.h"
#include "run_file/schema.h"

namespace gradhealth::run_file {

/// What is written and committed together.
struct Batch {
  std::vector<StepRecord> rows;
  std::vector<std::pair<Axis, Subject>> subjects;
  std::vector<Event> events;  ///< Those that belong to no row; rows carry their own.
};

/// What a copy of a run has and a recording of one does not.
struct Archive {
  std::string writer_version;  ///< Of the version that recorded it.
  std::string lost;            ///< What is missing because the original was damaged.
  std::int64_t rows = 0;
};

/// The HDF5 side of a writer; knows no threads. After a call has thrown, the file must not be written to again: HDF5
/// accepts further writes and loses them.
class FileWriter {
 public:
  /// Creates the file with all its objects, live for readers.
  /// @throws IoError
  FileWriter(const std::filesystem::path& path, const Run& run, Durability durability);
  /// Creates a compressed file that no reader sees before it is finished.
  /// @throws IoError
  FileWriter(const std::filesystem::path& path, const Run& run, const Archive& archive);

  /// Writes a batch and commits it: afterwards, its rows survive what the file's durability names.
  /// @throws IoError, also if the file has been deleted or cut off meanwhile.
  void commit(const Batch& batch);
  /// Says how the run ended and closes. @throws IoError
  void finish(RunState state);
  /// Says in the file that its recording failed, if that can still be said, and lets go of it.
  void abandon_failed() noexcept;
  /// Nothing that this process does from now on reaches the file.
  void leave_to_parent() noexcept;
  /// Lets go of the file, whatever state it is in; a reader finds what was committed.
  void abandon() noexcept;

  /// Of the open file; -1 once it is closed.
  int descriptor() const noexcept { return output_->descriptor; }

  void set_path(std::filesystem::path path) { path_ = std::move(path); }

 private:
  struct QuantityColumn {
    Handle dataset;
    hsize_t rows = 0;
    hsize_t columns = 0;
  };
  struct Table {
    std::vector<Handle> text;
    Handle number;  ///< Subject: size. Event: step.
    Handle committed;
    hsize_t count = 0;
  };

  void create_file();
  [[noreturn]] void fail(const std::string& object, const std::string& doing) const;
  Handle create(const std::string& object, hid_t type, const std::vector<hsize_t>& chunk, const void* fill);
  Handle create_scalar(const std::string& object, hid_t type, std::int64_t value);
  Handle open_group(const std::string& object);
  void write_info(const RunInfo& info);
  void write_text_attribute(hid_t object, const char* attribute, const std::string& value);
  void create_datasets(const Run& run);
  void append_subjects(Axis axis, const std::vector<const Subject*>& subjects);
  void append_events(const std::vector<const Event*>& events);
  void append_text(Table& table, std::size_t column, std::size_t width, const std::vector<std::string>& values,
                   const std::string& object);
  void append_quantity(const QuantityInfo& quantity, const std::vector<StepRecord>& rows);
  void extend(const Handle& dataset, const std::vector<hsize_t>& size, const std::string& object);
  void write(const Handle& dataset, hid_t type, const std::vector<hsize_t>& offset, const std::vector<hsize_t>& size,
             const void* data, const std::string& object);
  void put_scalar(const Handle& dataset, std::int64_t value, const std::string& object);
  void require_untouched();
  void require_written() const;
  void reach_disk(int descriptor) const;

  std::filesystem::path path_;
  std::optional<Archive> archive_;
  Durability durability_ = Durability::kProcess;
  std::int64_t bytes_ = 0;         ///< That the file had after the latest commit.
  std::int64_t state_place_ = -1;  ///< Of the state's bytes in the file.
  std::unique_ptr<OutputFile> output_ = std::make_unique<OutputFile>();
  Handle file_;
  Handle state_, committed_rows_, step_, wall_time_;
  std::array<QuantityColumn, kQuantityCount> quantities_;
  std::array<Table, kAxisCount> subjects_;
  Table events_;
  hsize_t rows_ = 0;
  std::vector<float> float_buffer_;
  std::vector<double> double_buffer_;
};

}  // namespace gradhealth::run_file
