#include "report/text_plot.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "report/summary.h"

namespace gradhealth {
namespace {

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
};

Range range(const PlotSeries& series) {
  Range range;
  for (std::size_t i = 0; i < series.first_step.size(); ++i) {
    if (!std::isfinite(series.minimum[i]) || !std::isfinite(series.maximum[i])) continue;
    range.low = std::min(range.low, series.minimum[i]);
    range.high = std::max(range.high, series.maximum[i]);
  }
  return range;
}

std::string utf8(unsigned code_point) {
  std::string out;
  out += static_cast<char>(0xE0 | code_point >> 12);
  out += static_cast<char>(0x80 | (code_point >> 6 & 0x3F));
  out += static_cast<char>(0x80 | (code_point & 0x3F));
  return out;
}

/// Dots that are packed into characters: 2 × 4 in braille, 1 × 2 in ASCII.
class Canvas {
 public:
  Canvas(std::size_t cells, std::size_t rows, Charset charset)
      : unicode_(charset == Charset::kUnicode),
        cells_(cells),
        rows_(rows),
        dots_(columns() * lines(), false),
        broken_(cells, false) {}

  std::size_t columns() const { return cells_ * (unicode_ ? 2 : 1); }
  std::size_t lines() const { return rows_ * (unicode_ ? 4 : 2); }
  void set(std::size_t column, std::size_t line) { dots_[line * columns() + column] = true; }
  void mark_broken(std::size_t cell) { broken_[cell] = true; }

  std::string row(std::size_t row) const {
    std::string out;
    for (std::size_t cell = 0; cell < cells_; ++cell)
      out += row == 0 && broken_[cell] ? (unicode_ ? "×" : "x") : unicode_ ? braille(cell, row) : plain(cell, row);
    return out;
  }

 private:
  bool dot(std::size_t column, std::size_t line) const { return dots_[line * columns() + column]; }

  std::string braille(std::size_t cell, std::size_t row) const {
    constexpr unsigned bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    unsigned pattern = 0;
    for (std::size_t line = 0; line < 4; ++line)
      for (std::size_t column = 0; column < 2; ++column)
        if (dot(2 * cell + column, 4 * row + line)) pattern |= bits[line][column];
    return pattern == 0 ? " " : utf8(0x2800 + pattern);
  }

  std::string plain(std::size_t cell, std::size_t row) const {
    const bool upper = dot(cell, 2 * row), lower = dot(cell, 2 * row + 1);
    return upper && lower ? ":" : upper ? "'" : lower ? "." : " ";
  }

  bool unicode_;
  std::size_t cells_;
  std::size_t rows_;
  std::vector<bool> dots_;
  std::vector<bool> broken_;
};

class Scale {
 public:
  Scale(const Range& range, bool logarithmic, std::size_t lines)
      : logarithmic_(logarithmic), lines_(lines), low_(of(range.low)), high_(of(range.high)) {}

  /// Lines are counted from the top.
  std::size_t line(double value) const {
    if (!(high_ > low_)) return lines_ / 2;
    const double share = std::clamp((of(value) - low_) / (high_ - low_), 0.0, 1.0);
    return static_cast<std::size_t>(std::lround((1 - share) * static_cast<double>(lines_ - 1)));
  }

 private:
  double of(double value) const { return logarithmic_ ? std::log10(value) : value; }

  bool logarithmic_;
  std::size_t lines_;
  double low_;
  double high_;
};

void draw(const PlotSeries& series, const TextAxis& axis, const Scale& scale, Canvas& canvas) {
  bool joined = false;
  std::size_t last_column = 0, last_line = 0;
  for (std::size_t i = 0; i < series.first_step.size(); ++i) {
    const std::size_t column = axis.place(series.first_step[i], canvas.columns());
    if (series.nonfinite[i] > 0) canvas.mark_broken(axis.place(series.first_step[i], axis.cells));
    const bool drawable = std::isfinite(series.minimum[i]) && std::isfinite(series.maximum[i]);
    if (drawable) {
      const std::size_t top = scale.line(series.maximum[i]), bottom = scale.line(series.minimum[i]);
      const std::size_t middle = (top + bottom) / 2;
      for (std::size_t line = top; line <= bottom; ++line) canvas.set(column, line);
      std::size_t before = last_line;
      for (std::size_t between = last_column + 1; joined && between <= column; ++between) {
        const double share = static_cast<double>(between - last_column) / static_cast<double>(column - last_column);
        const double exact =
            static_cast<double>(last_line) + share * (static_cast<double>(middle) - static_cast<double>(last_line));
        const auto line = static_cast<std::size_t>(std::lround(exact));
        // Steep parts stay one line.
        const std::size_t end = before < line ? line : before;
        for (std::size_t each = std::min(before, line); each <= end; ++each)
          if (each != before || before == line) canvas.set(between, each);
        before = line;
      }
      last_column = column;
      last_line = middle;
    }
    // What was not finite, or not there, is a gap.
    joined = drawable && series.nonfinite[i] == 0;
  }
}

std::size_t filled(const PlotSeries& series) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < series.first_step.size(); ++i)
    count += std::isfinite(series.maximum[i]) || series.nonfinite[i] > 0 ? 1 : 0;
  return count;
}

}  // namespace

std::size_t TextAxis::place(std::int64_t step, std::size_t places) const {
  if (last_step <= first_step || places == 0) return 0;
  const double share = (static_cast<double>(step) - static_cast<double>(first_step)) /
                       (static_cast<double>(last_step) - static_cast<double>(first_step));
  return static_cast<std::size_t>(std::lround(std::clamp(share, 0.0, 1.0) * static_cast<double>(places - 1)));
}

TextAxis text_axis(const PlotSeries& series, std::size_t cells) {
  if (series.first_step.empty()) return {0, 0, cells};
  return {series.first_step.front(), series.first_step.back(), cells};
}

bool is_logarithmic(const PlotSeries& series) {
  const Range values = range(series);
  return values.low > 0 && values.high > 100 * values.low;
}

std::vector<std::string> text_plot(const PlotSeries& series, const TextAxis& axis, std::size_t rows, Charset charset) {
  if (filled(series) < 2) return {};
  Canvas canvas(axis.cells, rows, charset);
  const Range values = range(series);
  const bool anything = values.low <= values.high;
  draw(series, axis, Scale(values, is_logarithmic(series), canvas.lines()), canvas);
  std::vector<std::string> lines;
  for (std::size_t row = 0; row < rows; ++row) {
    std::string label;
    if (anything && row == 0) label = number(values.high);
    if (anything && row > 0 && row + 1 == rows && values.high > values.low) label = number(values.low);
    std::string line = fmt::format("{:>{}} ", label, kTextPlotLabel) + canvas.row(row);
    line.erase(line.find_last_not_of(' ') + 1);
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace gradhealth
