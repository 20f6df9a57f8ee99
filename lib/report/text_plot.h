#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <gradhealth/report.h>

namespace gradhealth {

/// Steps to the columns of text plots that stand below each other.
struct TextAxis {
  std::int64_t first_step = 0;
  std::int64_t last_step = 0;
  std::size_t cells = 60;  ///< Characters.

  /// Where a step is, from 0 to `places` - 1.
  std::size_t place(std::int64_t step, std::size_t places) const;
};

/// What a series has to be drawn on: from its first to its last step.
TextAxis text_axis(const PlotSeries& series, std::size_t cells);

/// A series as `rows` lines: a label of kTextPlotLabel characters and a space, then axis.cells characters, in braille
/// or in ASCII. A cross in the first row is a value that was not finite. Logarithmic where all values are positive and
/// the largest is a hundred times the smallest. No line if fewer than two columns hold something.
std::vector<std::string> text_plot(const PlotSeries& series, const TextAxis& axis, std::size_t rows, Charset charset);
inline constexpr std::size_t kTextPlotLabel = 10;

/// Whether text_plot() would draw it on a logarithmic scale.
bool is_logarithmic(const PlotSeries& series);

}  // namespace gradhealth
