#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace gradhealth::hooks {

/// A tensor's values as numbers: a row for each index of its first dimension.
struct ValueTable {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<double> values;
};

/// Whether `value_table` can read it without waiting: dense, on the CPU, of real numbers, integers or truth values.
bool has_values(const at::Tensor& tensor);

/// Every how many-th of `count` is taken for about `most` of them. Odd, so that it is out of step with what repeats
/// every so many rows, mostly a power of two.
std::int64_t stride_for(std::int64_t count, std::int64_t most);

/// About `most` values of a tensor that has them: evenly spaced rows, and of rows that are longer than that, evenly
/// spaced values. Always the same places.
ValueTable value_table(const at::Tensor& tensor, std::int64_t most);

/// Mean, deviation and range of values, all finite. What is equal has no deviation, exactly.
class ValueSums {
 public:
  void add(double value);
  ValueSums& operator+=(const ValueSums& other);
  std::int64_t count() const { return count_; }
  double mean() const { return shift_ + sum_ / static_cast<double>(count_); }  ///< NaN of nothing.
  double std() const;                                                          ///< Population; NaN of nothing.
  double min() const { return min_; }
  double max() const { return max_; }

 private:
  std::int64_t count_ = 0;
  double shift_ = 0;  ///< The first value: the sums are of differences from it.
  double sum_ = 0;
  double sum_squares_ = 0;
  double min_ = std::numeric_limits<double>::infinity();
  double max_ = -std::numeric_limits<double>::infinity();
};

/// Of tables of the same columns, row after row; rows with a value that is not finite are left out.
class TableSums {
 public:
  void add(const ValueTable& table);
  /// Adds those over other rows; of tables with other columns, only what does not tell columns apart.
  TableSums& operator+=(const TableSums& other);
  ValueSums all() const;
  /// Standard deviation over the rows, root mean square over the columns; nothing of fewer than two rows.
  std::optional<double> spread() const;

 private:
  std::vector<ValueSums> columns_;
  ValueSums others_;
};

}  // namespace gradhealth::hooks
