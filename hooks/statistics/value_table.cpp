#include "hooks/statistics/value_table.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "hooks/statistics/reading.h"

namespace gradhealth::hooks {
namespace {

template <typename T>
std::vector<double> as_numbers(const T* data, std::int64_t count) {
  std::vector<double> numbers(static_cast<std::size_t>(count));
  std::transform(data, data + count, numbers.begin(), [](const T& value) { return static_cast<double>(value); });
  return numbers;
}

std::vector<double> numbers_in(const at::Tensor& line) {
  switch (line.scalar_type()) {
    case at::kFloat: return as_numbers(line.data_ptr<float>(), line.numel());
    case at::kDouble: return as_numbers(line.data_ptr<double>(), line.numel());
    case at::kLong: return as_numbers(line.data_ptr<std::int64_t>(), line.numel());
    default: break;
  }
  const at::Tensor widened = line.to(at::kDouble);
  return as_numbers(widened.data_ptr<double>(), widened.numel());
}

}  // namespace

std::int64_t stride_for(std::int64_t count, std::int64_t most) {
  const std::int64_t stride = (count + most - 1) / most;
  return stride > 1 ? stride | 1 : 1;
}

bool has_values(const at::Tensor& tensor) {
  if (!tensor.defined() || !tensor.device().is_cpu() || tensor.layout() != at::kStrided || tensor.is_complex())
    return false;
  return at::isIntegralType(tensor.scalar_type(), /*includeBool=*/true) || reading_of(tensor) == Reading::kNow;
}

ValueTable value_table(const at::Tensor& tensor, std::int64_t most) {
  ValueTable table;
  if (tensor.numel() == 0) return table;
  at::Tensor rows = tensor.dim() > 0 ? tensor.detach() : tensor.detach().reshape({1});
  if (rows.numel() > most) {
    rows = rows.slice(0, 0, rows.size(0), std::min(stride_for(rows.numel(), most), rows.size(0)));
    const std::int64_t columns = rows.numel() / rows.size(0);
    if (columns > most)
      rows = rows.reshape({rows.size(0), columns}).slice(1, 0, columns, stride_for(columns * rows.size(0), most));
  }
  const at::Tensor line = rows.contiguous();
  table.rows = line.size(0);
  table.columns = line.numel() / line.size(0);
  table.values = numbers_in(line);
  return table;
}

void ValueSums::add(double value) {
  if (count_ == 0) shift_ = value;
  const double difference = value - shift_;
  ++count_;
  sum_ += difference;
  sum_squares_ += difference * difference;
  min_ = std::min(min_, value);
  max_ = std::max(max_, value);
}

ValueSums& ValueSums::operator+=(const ValueSums& other) {
  if (other.count_ == 0) return *this;
  if (count_ == 0) return *this = other;
  const double moved = other.shift_ - shift_;
  const double count = static_cast<double>(other.count_);
  sum_squares_ += other.sum_squares_ + 2 * moved * other.sum_ + moved * moved * count;
  sum_ += other.sum_ + moved * count;
  count_ += other.count_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  return *this;
}

double ValueSums::std() const {
  const double count = static_cast<double>(count_);
  const double mean = sum_ / count;
  const double variance = sum_squares_ / count - mean * mean;
  return std::isnan(variance) ? variance : std::sqrt(std::max(variance, 0.0));
}

void TableSums::add(const ValueTable& table) {
  columns_.resize(static_cast<std::size_t>(table.columns));
  const double* row = table.values.data();
  for (std::int64_t i = 0; i < table.rows; ++i, row += table.columns) {
    if (!std::all_of(row, row + table.columns, [](double value) { return std::isfinite(value); })) continue;
    for (std::size_t column = 0; column < columns_.size(); ++column) columns_[column].add(row[column]);
  }
}

TableSums& TableSums::operator+=(const TableSums& other) {
  if (columns_.empty()) return *this = other;
  if (columns_.size() == other.columns_.size())
    for (std::size_t column = 0; column < columns_.size(); ++column) columns_[column] += other.columns_[column];
  else
    others_ += other.all();
  return *this;
}

ValueSums TableSums::all() const {
  ValueSums all = others_;
  for (const ValueSums& column : columns_) all += column;
  return all;
}

std::optional<double> TableSums::spread() const {
  if (columns_.empty() || columns_.front().count() < 2) return std::nullopt;
  double squares = 0;
  for (const ValueSums& column : columns_) squares += column.std() * column.std();
  return std::sqrt(squares / static_cast<double>(columns_.size()));
}

}  // namespace gradhealth::hooks
