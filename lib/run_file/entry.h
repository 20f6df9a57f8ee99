#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <gradhealth/run.h>

namespace gradhealth::run_file {

/// What one append() hands to the writer: a row, new subjects, events, or several of them.
struct Entry {
  bool has_row = false;
  std::int64_t step = 0;
  double wall_time = 0;
  std::array<std::size_t, kQuantityCount> counts{};  ///< Values of each quantity.
  std::vector<double> values;                        ///< All of them, one quantity after the other.
  std::array<std::vector<Subject>, kAxisCount> new_subjects;
  std::vector<Event> events;

  /// Copies the row; its events too.
  void set_row(const StepRecord& record);
  /// Forgets everything; keeps the memory.
  void clear();
  /// Memory in use, roughly.
  std::size_t bytes() const;
};

using Batch = std::vector<std::unique_ptr<Entry>>;

}  // namespace gradhealth::run_file
