#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

#include <gradhealth/report.h>

#include "stats/robust.h"

namespace gradhealth {
namespace {

constexpr std::size_t kPlotColumns = 256;
constexpr std::size_t kLatestRows = 20;  ///< That the speed is measured over.
constexpr std::size_t kWorst = 5;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

class WatchCollector::Impl {
 public:
  void observe(const Run& run, const StepRecord& record) {
    ++state_.rows;
    state_.step = record.step;
    keep(record.at(Quantity::kLoss), record.at(Quantity::kLossNonfinite), state_.loss);
    const std::vector<double>& counts = record.values(Quantity::kGradientNonfinite);
    const bool nonfinite = std::any_of(counts.begin(), counts.end(), [](double count) { return count > 0; });
    keep(record.at(Quantity::kGlobalGradientNorm), nonfinite ? 1 : 0, state_.gradient_norm);
    keep(record.at(Quantity::kLearningRate), 0, state_.learning_rate);
    latest_.push_back({record.step, record.wall_time});
    if (latest_.size() > kLatestRows) latest_.pop_front();
    observe_parameters(run, record);
    plots_.observe(run, record);
  }

  WatchState state() const {
    WatchState state = state_;
    state.steps_per_second = speed();
    state.worst = worst();
    state.plots = plots_.plots();
    return state;
  }

  double longest_gap() const {
    double longest = 0;
    for (std::size_t i = 1; i < latest_.size(); ++i) longest = std::max(longest, latest_[i].time - latest_[i - 1].time);
    return longest;
  }

 private:
  struct Row {
    std::int64_t step;
    double time;
  };

  /// A value that was not recorded leaves the one before; one that was and is NaN does not.
  static void keep(double latest, double nonfinite, std::optional<double>& value) {
    if (!std::isnan(latest) || nonfinite > 0) value = latest;
  }

  void observe_parameters(const Run& run, const StepRecord& record) {
    const std::vector<Subject>& subjects = run.of(Axis::kParameter);
    for (std::size_t i = parameters_.size(); i < subjects.size(); ++i) {
      parameters_.push_back({subjects[i].name, std::nullopt, std::nullopt, std::nullopt});
      nonfinite_.push_back(0);
    }
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const double count = record.at(Quantity::kGradientNonfinite, i);
      if (!std::isnan(count)) nonfinite_[i] = count;
      keep(record.at(Quantity::kGradientNorm, i), count, parameters_[i].gradient_norm);
      keep(record.at(Quantity::kWeightNorm, i), record.at(Quantity::kWeightNonfinite, i), parameters_[i].weight_norm);
      keep(record.at(Quantity::kUpdateRatio, i), 0, parameters_[i].update_ratio);
    }
  }

  std::optional<double> speed() const {
    if (latest_.size() < 2) return std::nullopt;
    const double seconds = latest_.back().time - latest_.front().time;
    const auto steps = static_cast<double>(latest_.back().step - latest_.front().step);
    if (!(seconds > 0 && steps > 0)) return std::nullopt;
    return steps / seconds;
  }

  std::vector<WatchState::Parameter> worst() const {
    std::vector<double> ratios;
    for (const WatchState::Parameter& parameter : parameters_)
      if (parameter.update_ratio > 0.0 && std::isfinite(*parameter.update_ratio))
        ratios.push_back(*parameter.update_ratio);
    const double middle = stats::median_in_place(ratios.data(), ratios.size());
    const auto distance = [&](std::size_t i) {
      if (nonfinite_[i] > 0) return std::numeric_limits<double>::infinity();
      const double far = std::abs(std::log(parameters_[i].update_ratio.value_or(kNan) / middle));
      return std::isnan(far) ? -1.0 : far;
    };
    std::vector<std::size_t> order(parameters_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return distance(a) > distance(b); });
    std::vector<WatchState::Parameter> worst;
    for (std::size_t i = 0; i < std::min(order.size(), kWorst); ++i) worst.push_back(parameters_[order[i]]);
    return worst;
  }

  WatchState state_;
  std::vector<WatchState::Parameter> parameters_;
  std::vector<double> nonfinite_;  ///< Elements of each parameter's latest gradient.
  std::deque<Row> latest_;
  PlotCollector plots_{kPlotColumns, PlotDetail::kSeries};
};

WatchCollector::WatchCollector() : impl_(std::make_unique<Impl>()) {}
WatchCollector::~WatchCollector() = default;
WatchCollector::WatchCollector(WatchCollector&&) noexcept = default;
WatchCollector& WatchCollector::operator=(WatchCollector&&) noexcept = default;
void WatchCollector::observe(const Run& run, const StepRecord& record) { impl_->observe(run, record); }
WatchState WatchCollector::state() const { return impl_->state(); }
double WatchCollector::longest_gap() const { return impl_->longest_gap(); }

}  // namespace gradhealth
