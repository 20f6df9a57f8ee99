#pragma once

#include <cstddef>
#include <vector>

namespace gradhealth::stats {

/// The last few finite values, kept in order of size as well, so that asking costs next to nothing: rules ask at every
/// step. Allocates once, in the constructor.
class Window {
 public:
  /// @param capacity 0 counts as 1.
  explicit Window(std::size_t capacity);

  /// Values that are not finite are left out.
  void push(double value);
  void clear();

  std::size_t size() const { return size_; }
  bool full() const { return size_ == values_.size(); }
  /// Lower median; NaN while empty.
  double median() const;
  /// Median absolute deviation times 1.4826: the standard deviation of normal noise. NaN while empty.
  double sigma() const;
  double quantile(double p) const;
  double minimum() const;
  double maximum() const;

 private:
  std::vector<double> values_;  ///< A ring.
  std::vector<double> sorted_;  ///< The same values, the first `size_` of it.
  std::size_t size_ = 0;
  std::size_t next_ = 0;
};

}  // namespace gradhealth::stats
