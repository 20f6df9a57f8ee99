#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "report/escape.h"
#include "report/input_histograms.h"
#include "report/summary.h"

namespace gradhealth {
namespace {

constexpr double kWidth = 320;
constexpr double kHeight = 114;
constexpr double kLeft = 44;
constexpr double kRight = 312;
constexpr double kTop = 10;
constexpr double kFloor = 96;
constexpr double kSmallest = 1;     ///< Height of what is nearly nothing: it is not nothing.
constexpr double kPeak = 4;         ///< Over the next highest bar: what is that much higher hides the others.
constexpr double kMostStretch = 4;  ///< Of the axis that two histograms share, over the range of the narrower one.

double density(const InputHistogram& histogram, std::size_t bin) {
  return histogram.shares[bin] / (histogram.maximum - histogram.minimum);
}

/// Whether one bin has so much more than every other one that these would not be seen.
bool is_peaked(const InputHistogram& histogram) {
  std::vector<double> shares = histogram.shares;
  std::partial_sort(shares.begin(), shares.begin() + 2, shares.end(), std::greater<>());
  return shares[0] > kPeak * shares[1];
}

/// The plane of one or two histograms.
class Panel {
 public:
  explicit Panel(const std::vector<const InputHistogram*>& drawn) : low_(drawn[0]->minimum), high_(drawn[0]->maximum) {
    for (const InputHistogram* each : drawn) {
      low_ = std::min(low_, each->minimum);
      high_ = std::max(high_, each->maximum);
      const double share = *std::max_element(each->shares.begin(), each->shares.end());
      const double densest = share / (each->maximum - each->minimum);
      root_ = root_ || is_peaked(*each);
      if (densest <= highest_) continue;
      highest_ = densest;
      highest_share_ = share;
    }
  }

  double x(double value) const { return kLeft + (kRight - kLeft) * (value - low_) / (high_ - low_); }
  double y(double density) const {
    if (!(density > 0)) return kFloor;
    const double height = root_ ? std::sqrt(density / highest_) : density / highest_;
    return kFloor - std::max(kSmallest, (kFloor - kTop) * height);
  }

  /// Whether heights are square roots, so that a peak leaves something to see of the rest.
  bool is_root() const { return root_; }

  /// Floor, ends and zero of the values; the highest share.
  std::string axes() const {
    std::string out = fmt::format("<path class=\"axis\" d=\"M{0} {2}H{1}\"/>\n", kLeft, kRight, kFloor);
    if (low_ < 0 && high_ > 0) {
      out += fmt::format("<path class=\"zero\" d=\"M{0:.1f} {1}V{2}\"/>\n", x(0), kTop, kFloor);
      constexpr double kRoom = 60;
      if (x(0) > kLeft + kRoom && x(0) < kRight - kRoom) out += label(x(0), kHeight - 4, "middle", "0");
    }
    return out + label(kLeft, kHeight - 4, "start", number(low_)) + label(kRight, kHeight - 4, "end", number(high_)) +
           label(kLeft - 4, kTop + 8, "end", percent(highest_share_)) +
           label(kLeft - 4, (kTop + kFloor) / 2 + 4, "end", percent(highest_share_ / (root_ ? 4 : 2))) +
           label(kLeft - 4, kFloor, "end", "0");
  }

 private:
  static std::string percent(double share) { return fmt::format("{:.3g} %", 100 * share); }

  static std::string label(double x, double y, const char* anchor, const std::string& text) {
    return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, text);
  }

  double low_;
  double high_;
  double highest_ = 0;
  double highest_share_ = 0;
  bool root_ = false;
};

std::string bars(const InputHistogram& histogram, const Panel& panel) {
  std::string out;
  for (std::size_t bin = 0; bin < histogram.shares.size(); ++bin) {
    if (!(histogram.shares[bin] > 0)) continue;
    const double from = panel.x(histogram.edge(bin)), to = panel.x(histogram.edge(bin + 1));
    const double top = panel.y(density(histogram, bin));
    out += fmt::format(
        "<rect class=\"bar\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\"><title>Step {}: {:.3g} % "
        "from "
        "{} to {}</title></rect>\n",
        from, top, std::max(to - from, 0.2), kFloor - top, histogram.step, 100 * histogram.shares[bin],
        number(histogram.edge(bin)), number(histogram.edge(bin + 1)));
  }
  return out;
}

std::string outline(const InputHistogram& histogram, const Panel& panel) {
  std::string path = fmt::format("M{:.1f} {:.1f}", panel.x(histogram.minimum), kFloor);
  for (std::size_t bin = 0; bin < histogram.shares.size(); ++bin)
    path += fmt::format("V{:.1f}H{:.1f}", panel.y(density(histogram, bin)), panel.x(histogram.edge(bin + 1)));
  return fmt::format("<path class=\"outline\" d=\"{}V{}\"/>\n", path, kFloor);
}

std::string drawing(const std::string& content, const std::string& alternative) {
  return fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n", kWidth, kHeight,
                     html(alternative), content);
}

bool fit_one_axis(const InputHistogram& a, const InputHistogram& b) {
  const double both = std::max(a.maximum, b.maximum) - std::min(a.minimum, b.minimum);
  return both <= kMostStretch * std::min(a.maximum - a.minimum, b.maximum - b.minimum);
}

}  // namespace

std::string histogram_figure(const InputHistograms& histograms) {
  const InputHistogram& first = histograms.first;
  const InputHistogram& last = histograms.last;
  const std::string text = printable(histogram_text(histograms));
  std::string drawn, steps;
  bool root = false;
  const auto panel_of = [&root](const std::vector<const InputHistogram*>& both) {
    Panel panel(both);
    root = root || panel.is_root();
    return panel;
  };
  if (first.step == last.step) {
    const Panel panel = panel_of({&first});
    drawn = drawing(panel.axes() + bars(first, panel), text);
    steps = fmt::format("step {}", first.step);
  } else if (fit_one_axis(first, last)) {
    const Panel panel = panel_of({&first, &last});
    drawn = drawing(panel.axes() + bars(first, panel) + outline(last, panel), text);
    steps = fmt::format("bars: step {}, line: step {}", first.step, last.step);
  } else {
    for (const InputHistogram* each : {&first, &last}) {
      const Panel panel = panel_of({each});
      drawn +=
          drawing(panel.axes() + bars(*each, panel), printable(histogram_text({histograms.feature, *each, *each})));
    }
    steps = fmt::format("step {}, then step {}", first.step, last.step);
  }
  if (root) steps += "; heights are square roots";
  return fmt::format(
      "<figure class=\"histogram\">\n<figcaption>{} <span class=\"steps\">{}</span></figcaption>\n{}</figure>\n",
      html(printable(histograms.feature)), steps, drawn);
}

}  // namespace gradhealth
