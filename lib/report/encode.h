#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <gradhealth/report.h>

namespace gradhealth {

std::string base64(std::string_view bytes);

/// The bytes of a string of hexadecimal digits.
std::string from_hex(std::string_view digits);

/// A matrix as 16-bit codes (low byte first) on a logarithmic scale, for a canvas. A cell is the larger
/// code when cells are merged: a value that is not finite beats every number, and a number beats zero.
struct EncodedMatrix {
  static constexpr unsigned kMissing = 0;
  static constexpr unsigned kZero = 1;
  static constexpr unsigned kFirst = 2;     ///< 10^low.
  static constexpr unsigned kLast = 65534;  ///< 10^high.
  static constexpr unsigned kNonfinite = 65535;

  double low = 0;   ///< Decimal logarithm of the smallest positive value.
  double high = 0;  ///< Of the largest.
  std::vector<std::int64_t> first_step;
  std::vector<std::string> rows;  ///< One per subject, two bytes a column.
};

/// Merges neighbouring columns so that there are at most `max_columns`, and at most `max_cells` cells.
EncodedMatrix encode(const PlotMatrix& matrix, std::size_t max_columns, std::size_t max_cells);

}  // namespace gradhealth
