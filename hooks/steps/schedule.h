#pragma once

#include <cstddef>
#include <cstdint>

namespace gradhealth::hooks {

/// Steps that are recorded whole, and traced, at the beginning: faults of data, initialisation and learning rate show
/// at once. Counted from the monitor's first step, which is not 0 where a training goes on from a checkpoint.
inline constexpr std::int64_t kDenseStart = 20;
inline constexpr std::int64_t kSuspicionSteps = 10;   ///< Looked at closely after a suspicion.
inline constexpr std::int64_t kSuspicionPause = 500;  ///< From one suspicion to the next that is followed.

struct ScheduleOptions {
  std::int64_t every = 0;  ///< As in MonitorOptions.
  double budget = 0;       ///< Share of the training time; 0: no limit.
  std::size_t max_bytes = 0;
  std::int64_t first_step = 0;  ///< The beginning of a continued run is recorded as densely as that of a new one.
  bool always_exact = false;    ///< Every recorded step is read whole.
};

/// Decides which steps are recorded: a function of the step number, which budget, file size and suspicion change only
/// towards fewer and more steps respectively.
class Schedule {
 public:
  explicit Schedule(const ScheduleOptions& options);

  /// Whether `step` is recorded. Ask once per step, in order.
  bool records(std::int64_t step) const;
  /// Whether every rank of a training records `step`: what neither budget nor size nor suspicion changes. They may add
  /// steps or, where a file fills up, leave some out.
  bool is_common(std::int64_t step) const;
  /// Takes in what recording a step cost beside the bare step. Returns whether the spacing has changed.
  bool observe_cost(std::int64_t step, double own_seconds, double step_seconds);
  /// Takes in the size of the file. Returns whether the spacing has changed.
  bool observe_bytes(std::size_t bytes);
  /// Whether what is recorded at `step` is read whole, rather than sampled: at the beginning, when faults start, and
  /// after a suspicion.
  bool exact(std::int64_t step) const;
  /// Something looks wrong: the next steps are read whole, and recorded one by one unless the interval is fixed.
  void suspect(std::int64_t step);
  /// The loss is not finite: once a run, hundreds of steps are recorded one by one unless the interval is fixed, so
  /// that a bad sample is seen when its turn comes again. There is nothing left to be slowed down.
  void search(std::int64_t step);
  /// The recorded step in progress is one that no update follows: the next one is recorded too, unless the interval is
  /// fixed. Where every second step is such, rows at even steps alone would show no update at all.
  void note_skipped_update(std::int64_t step);
  /// Steps between two recorded ones at `step`.
  std::int64_t interval(std::int64_t step) const;

 private:
  std::int64_t common_interval(std::int64_t step) const;

  ScheduleOptions options_;
  std::int64_t cost_factor_ = 1;
  std::int64_t size_factor_ = 1;
  double mean_own_ = 0;
  double mean_step_ = 0;
  std::int64_t dense_until_ = 0;
  std::int64_t exact_until_;
  std::int64_t next_suspicion_ = 0;
  bool searched_ = false;
  std::int64_t skipped_step_ = -2;  ///< The last recorded one without an update; it and the next are a pair.
};

}  // namespace gradhealth::hooks
