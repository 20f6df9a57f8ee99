#include "stats/decimate.h"

#include <algorithm>
#include <cmath>

namespace gradhealth {

void Extremes::add(double value) {
  // fmin and fmax prefer the number to the NaN of an empty stretch.
  minimum = std::fmin(minimum, value);
  maximum = std::fmax(maximum, value);
}

void Extremes::merge(const Extremes& other) {
  minimum = std::fmin(minimum, other.minimum);
  maximum = std::fmax(maximum, other.maximum);
  nonfinite += other.nonfinite;
}

Decimator::Decimator(std::size_t limit) : limit_(std::max<std::size_t>(2, limit + limit % 2)) {}

void Decimator::begin_row(std::int64_t step) {
  if (!steps_.empty() && rows_in_last_ < rows_per_column_) {
    ++rows_in_last_;
    return;
  }
  if (steps_.size() == limit_) merge_pairs();
  steps_.push_back(step);
  rows_in_last_ = 1;
}

void Decimator::add(std::size_t series, double value) {
  if (std::isfinite(value))
    cell(series).add(value);
  else
    add_nonfinite(series);
}

void Decimator::add_nonfinite(std::size_t series) { ++cell(series).nonfinite; }

const std::vector<Extremes>& Decimator::series(std::size_t series) const {
  static const std::vector<Extremes> empty;
  return series < series_.size() ? series_[series] : empty;
}

Extremes& Decimator::cell(std::size_t series) {
  if (series >= series_.size()) series_.resize(series + 1);
  std::vector<Extremes>& columns = series_[series];
  if (columns.size() < steps_.size()) columns.resize(steps_.size());
  return columns.back();
}

void Decimator::merge_pairs() {
  for (std::size_t i = 0; 2 * i < steps_.size(); ++i) steps_[i] = steps_[2 * i];
  steps_.resize((steps_.size() + 1) / 2);
  for (std::vector<Extremes>& columns : series_) {
    const std::size_t merged = (columns.size() + 1) / 2;
    for (std::size_t i = 0; i < merged; ++i) {
      Extremes column = columns[2 * i];
      if (2 * i + 1 < columns.size()) column.merge(columns[2 * i + 1]);
      columns[i] = column;
    }
    columns.resize(merged);
  }
  rows_per_column_ *= 2;
}

}  // namespace gradhealth
