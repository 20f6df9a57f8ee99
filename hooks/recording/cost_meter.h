#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace gradhealth::hooks {

/// What recording costs and what a bare step takes, as far as the monitor can measure itself. In seconds.
class CostMeter {
 public:
  enum class Probe : std::uint8_t {
    kDue,       ///< One of those that come every N recorded steps.
    kAskedFor,  ///< The trainer's own.
  };

  void begin_run();
  /// The trainer has come to the end of a step.
  void step_ends();
  /// From the beginning of the run to the latest end of a step.
  double wall_time() const;
  /// Between the steps' ends, within operators.
  void add_probe(double cost, Probe probe);
  /// What the step that ends took without us. @param capturing what its operators cost, if they were looked at.
  void settle(std::optional<double> capturing, double tracing);
  double bare_step() const { return bare_step_; }
  /// The trainer goes on. @param probe_every recorded steps that share one probe's cost.
  /// @returns what the step cost, if its operators were looked at.
  std::optional<double> step_returns(std::int64_t probe_every);
  double own() const { return own_; }  ///< Of the whole run.

 private:
  using Clock = std::chrono::steady_clock;

  Clock::time_point created_;
  Clock::time_point end_;
  Clock::time_point last_return_;
  double own_ = 0;
  double bare_step_ = 0;
  std::optional<double> capturing_;  ///< In the step that ends.
  double probing_ = 0;               ///< In the step in progress.
  double due_probe_ = 0;             ///< The last one that was due and not asked for.
};

}  // namespace gradhealth::hooks
