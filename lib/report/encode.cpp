#include "report/encode.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace gradhealth {
namespace {

unsigned hex_digit(char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10); }

bool is_positive(double value) { return std::isfinite(value) && value > 0; }

class LogScale {
 public:
  explicit LogScale(const PlotMatrix& matrix) {
    double smallest = std::numeric_limits<double>::infinity(), largest = 0;
    for (const std::vector<double>& row : matrix.maximum) {
      for (const double value : row) {
        if (!is_positive(value)) continue;
        smallest = std::min(smallest, value);
        largest = std::max(largest, value);
      }
    }
    if (largest == 0) return;
    low = std::log10(smallest);
    high = std::log10(largest);
  }

  unsigned code(double value, bool nonfinite) const {
    if (nonfinite || std::isinf(value)) return EncodedMatrix::kNonfinite;
    if (std::isnan(value)) return EncodedMatrix::kMissing;
    if (value <= 0) return EncodedMatrix::kZero;
    constexpr double levels = EncodedMatrix::kLast - EncodedMatrix::kFirst;
    const double share = high > low ? (std::log10(value) - low) / (high - low) : 0;
    return EncodedMatrix::kFirst + static_cast<unsigned>(std::lround(levels * std::clamp(share, 0.0, 1.0)));
  }

  double low = 0;
  double high = 0;
};

}  // namespace

std::string base64(std::string_view bytes) {
  constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto byte = [&](std::size_t i) {
    return i < bytes.size() ? static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i])) : 0u;
  };
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::uint32_t group = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    for (int shift = 18; shift >= 0; shift -= 6) out += digits[group >> shift & 63];
  }
  const std::size_t padding = (3 - bytes.size() % 3) % 3;
  return out.replace(out.size() - padding, padding, padding, '=');
}

std::string from_hex(std::string_view digits) {
  std::string out;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
    out += static_cast<char>(hex_digit(digits[i]) << 4 | hex_digit(digits[i + 1]));
  return out;
}

EncodedMatrix encode(const PlotMatrix& matrix, std::size_t max_columns, std::size_t max_cells) {
  EncodedMatrix out;
  const LogScale scale(matrix);
  out.low = scale.low;
  out.high = scale.high;
  const std::size_t columns = matrix.first_step.size();
  const std::size_t fitting = max_cells / std::max<std::size_t>(1, matrix.subjects.size());
  const std::size_t limit = std::max<std::size_t>(1, std::min(max_columns, fitting));
  const std::size_t merged = std::max<std::size_t>(1, (columns + limit - 1) / limit);
  for (std::size_t i = 0; i < columns; i += merged) out.first_step.push_back(matrix.first_step[i]);
  for (std::size_t row = 0; row < matrix.subjects.size(); ++row) {
    std::string codes;
    for (std::size_t i = 0; i < columns; i += merged) {
      unsigned code = EncodedMatrix::kMissing;
      for (std::size_t j = i; j < std::min(columns, i + merged); ++j)
        code = std::max(code, scale.code(matrix.maximum[row][j], matrix.nonfinite[row][j] > 0));
      codes += static_cast<char>(code & 0xFF);
      codes += static_cast<char>(code >> 8);
    }
    out.rows.push_back(std::move(codes));
  }
  return out;
}

}  // namespace gradhealth
