#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace gradhealth {

/// Extremes of the finite values of a stretch of rows.
struct Extremes {
  double minimum = std::numeric_limits<double>::quiet_NaN();  ///< NaN until there is a finite value.
  double maximum = std::numeric_limits<double>::quiet_NaN();
  std::uint32_t nonfinite = 0;

  /// @param value finite.
  void add(double value);
  void merge(const Extremes& other);
};

/// Rows thinned to a bounded number of columns that all series share. When the columns are full,
/// neighbours are merged in pairs, so that every column but the last stands for the same number of rows.
class Decimator {
 public:
  /// @param limit at least 2; odd numbers are rounded up.
  explicit Decimator(std::size_t limit);

  /// Starts the next row.
  void begin_row(std::int64_t step);
  /// Adds a value to the current row; infinite and NaN values count as non-finite. A series starts to
  /// exist with its first call, empty in the columns before.
  void add(std::size_t series, double value);
  void add_nonfinite(std::size_t series);

  /// First step of every column.
  const std::vector<std::int64_t>& steps() const { return steps_; }
  /// Of every column; empty if the series does not exist.
  std::vector<Extremes> series(std::size_t series) const;

 private:
  Extremes& cell(std::size_t series);
  void merge_pairs();

  std::size_t limit_;
  std::size_t rows_per_column_ = 1;
  std::size_t rows_in_last_ = 0;
  std::vector<std::int64_t> steps_;
  /// By column, since a row is added to all series at once. A column ends with the last series that it has.
  std::vector<std::vector<Extremes>> columns_;
};

}  // namespace gradhealth
