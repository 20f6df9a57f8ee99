#include "stats/decimate.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace gradhealth {

void Extremes::add(double value) {
  // Nothing compares with the NaN of an empty stretch, which the number then replaces.
  if (!(minimum <= value)) minimum = value;
  if (!(maximum >= value)) maximum = value;
}

void Extremes::merge(const Extremes& other) {
  // fmin and fmax prefer a number to NaN.
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
  columns_.emplace_back();
  rows_in_last_ = 1;
}

void Decimator::add(std::size_t series, double value) {
  if (std::isfinite(value))
    cell(series).add(value);
  else
    add_nonfinite(series);
}

void Decimator::add_nonfinite(std::size_t series) { ++cell(series).nonfinite; }

std::vector<Extremes> Decimator::series(std::size_t series) const {
  std::vector<Extremes> values(columns_.size());
  bool exists = false;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (series >= columns_[i].size()) continue;
    values[i] = columns_[i][series];
    exists = exists || values[i].nonfinite > 0 || !std::isnan(values[i].maximum);
  }
  return exists ? values : std::vector<Extremes>();
}

Extremes& Decimator::cell(std::size_t series) {
  std::vector<Extremes>& column = columns_.back();
  if (series >= column.size()) {
    const std::size_t before = columns_.size() > 1 ? columns_[columns_.size() - 2].size() : 0;
    column.resize(std::max(series + 1, before));
  }
  return column[series];
}

void Decimator::merge_pairs() {
  for (std::size_t i = 0; 2 * i < steps_.size(); ++i) steps_[i] = steps_[2 * i];
  steps_.resize((steps_.size() + 1) / 2);
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    std::vector<Extremes> merged = std::move(columns_[2 * i]);
    if (2 * i + 1 < columns_.size()) {
      const std::vector<Extremes>& other = columns_[2 * i + 1];
      merged.resize(std::max(merged.size(), other.size()));
      for (std::size_t series = 0; series < other.size(); ++series) merged[series].merge(other[series]);
    }
    columns_[i] = std::move(merged);
  }
  columns_.resize(steps_.size());
  rows_per_column_ *= 2;
}

}  // namespace gradhealth
