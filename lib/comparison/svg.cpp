#include "comparison/svg.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/ranges.h>

#include "report/escape.h"
#include "report/summary.h"

namespace gradhealth::compared {
namespace {

constexpr double kWidth = 900;
constexpr double kLeft = 70;
constexpr double kHeight = 260;
constexpr double kBottom = 24;
constexpr double kTop = 8;
constexpr double kRow = 20;
constexpr double kNames = 260;
constexpr std::size_t kMostRows = 200;

/// Values to places between two ends.
class Scale {
 public:
  Scale(double low, double high, double from, double to, bool logarithmic)
      : low_(low), high_(high), from_(from), to_(to), logarithmic_(logarithmic) {
    if (logarithmic_) {
      low_ = std::log10(low_);
      high_ = std::log10(high_);
    }
    if (!(high_ > low_)) {
      low_ -= 0.5;
      high_ += 0.5;
    }
  }
  double at(double value) const {
    const double x = logarithmic_ ? std::log10(value) : value;
    return from_ + (to_ - from_) * (x - low_) / (high_ - low_);
  }
  /// A few round values within it.
  std::vector<double> ticks() const {
    std::vector<double> all;
    const double span = high_ - low_;
    double step = std::pow(10, std::floor(std::log10(span / 4)));
    for (const double factor : {2.0, 2.5, 2.0})
      if (span / step > 6) step *= factor;
    if (logarithmic_) step = std::max(1.0, std::ceil(span / 6));
    for (double x = std::ceil(low_ / step) * step; x <= high_ + 1e-9 * span && all.size() < 16; x += step)
      all.push_back(logarithmic_ ? std::pow(10, x) : x);
    return all;
  }

 private:
  double low_, high_, from_, to_;
  bool logarithmic_;
};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void take(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

std::string tick_label(double value) { return std::abs(value) < 1e-12 ? "0" : fmt::format("{:.4g}", value); }

/// One polygon or line per stretch of columns with finite values.
std::string band(const PlotSeries& series, const Scale& x, const Scale& y, const char* kind) {
  std::string out;
  std::string upper;
  std::vector<std::string> lower;  // Drawn from its end, so that the two make one line.
  const auto flush = [&] {
    if (!lower.empty())
      out += fmt::format("<path class=\"{}\" d=\"M{}{} Z\"/>\n", kind, upper.substr(1),
                         fmt::join(lower.rbegin(), lower.rend(), ""));
    upper.clear();
    lower.clear();
  };
  for (std::size_t i = 0; i < series.first_step.size(); ++i) {
    if (!std::isfinite(series.minimum[i]) || !std::isfinite(series.maximum[i])) {
      flush();
      continue;
    }
    const double at = x.at(static_cast<double>(series.first_step[i]));
    upper += fmt::format("L{:.1f} {:.1f}", at, y.at(series.maximum[i]));
    lower.push_back(fmt::format("L{:.1f} {:.1f}", at, y.at(series.minimum[i])));
  }
  flush();
  return out;
}

std::string mark(const ComparedNumber& norm, const std::optional<double>& value, const Scale& x, double y,
                 const char* kind) {
  if (!value || !(*value > 0) || !std::isfinite(*value)) return {};
  return fmt::format("<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"><title>{}: {}</title></circle>\n", kind,
                     x.at(*value), y, html(printable(norm.what)), number(*value));
}

}  // namespace

std::string loss_curves(const PlotSeries& before, const PlotSeries& after) {
  Range steps, values;
  for (const PlotSeries* series : {&before, &after}) {
    for (const std::int64_t step : series->first_step) steps.take(static_cast<double>(step));
    for (const double value : series->minimum) values.take(value);
    for (const double value : series->maximum) values.take(value);
  }
  if (values.empty()) return {};
  const bool logarithmic = values.low > 0 && values.high > 100 * values.low;
  const Scale x(steps.low, steps.high, kLeft, kWidth - 10, false);
  const Scale y(values.low, values.high, kHeight - kBottom, kTop, logarithmic);
  std::string out =
      fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Loss of both runs over the steps{}\">\n",
                  kWidth, kHeight, logarithmic ? ", logarithmic" : "");
  for (const double tick : y.ticks())
    out += fmt::format(
        "<line class=\"grid\" x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/><text x=\"{3}\" y=\"{4:.1f}\" "
        "text-anchor=\"end\">{5}</text>\n",
        kLeft, kWidth - 10, y.at(tick), kLeft - 6, y.at(tick) + 4, tick_label(tick));
  for (const double tick : x.ticks())
    out += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", x.at(tick), kHeight - 6,
                       tick_label(tick));
  return out + band(before, x, y, "before") + band(after, x, y, "after") + "</svg>\n";
}

std::string gradient_flow(const std::vector<ComparedNumber>& norms) {
  Range values;
  for (const ComparedNumber& norm : norms)
    for (const std::optional<double>& value : {norm.before, norm.after})
      if (value && *value > 0) values.take(*value);
  if (values.empty()) return {};
  const std::size_t rows = std::min(norms.size(), kMostRows);
  const double height = kRow * static_cast<double>(rows) + kBottom;
  const Scale x(values.low, values.high, kNames + 10, kWidth - 30, true);
  std::string out = fmt::format(
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Median gradient norm of every parameter in both runs\">\n",
      kWidth, height);
  for (const double tick : x.ticks())
    out += fmt::format(
        "<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"0\" y2=\"{1}\"/><text x=\"{0:.1f}\" y=\"{2}\" "
        "text-anchor=\"middle\">{3}</text>\n",
        x.at(tick), height - kBottom, height - 6, tick_label(tick));
  for (std::size_t i = 0; i < rows; ++i) {
    const double y = kRow * (static_cast<double>(i) + 0.5);
    out += fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n", kNames, y + 4,
                       html(shortened(printable(norms[i].what), 40)));
    out += mark(norms[i], norms[i].before, x, y, "before") + mark(norms[i], norms[i].after, x, y, "after");
  }
  return out + "</svg>\n";
}

}  // namespace gradhealth::compared
