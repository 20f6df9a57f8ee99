#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include <gradhealth/run.h>

#include "stats/history.h"
#include "stats/window.h"

namespace gradhealth::rules {

/// What a loss does, as a consequence that other pathologies are judged by. Losses may be negative, so
/// distances are measured against the start's size and the noise, never as ratios.
class LossTrack {
 public:
  /// @param rise_factor a loss has risen when it is this many times its start (above zero).
  explicit LossTrack(double rise_factor = 3);

  void observe(const StepRecord& record);

  std::size_t count() const { return history_.count(); }  ///< Finite losses.
  bool recorded() const { return recorded_; }
  double first() const { return first_; }             ///< NaN before the first finite loss.
  double start() const { return start_; }             ///< The first losses; NaN before the first finite one.
  double latest() const { return latest_; }           ///< NaN if the last one was missing or not finite.
  double recent() const { return recent_.median(); }  ///< Median of the last 8.
  /// Lower median of the losses between two fractions (0 … 1) of the run; NaN without any.
  double level(double from, double to) const { return history_.level(from, to); }
  double noise() const { return noise_; }  ///< Robust deviation of the first losses; 0 before there are three.
  double peak() const { return peak_; }
  std::int64_t peak_step() const { return peak_step_; }

  /// First step with a non-finite loss.
  std::optional<std::int64_t> nonfinite_step() const { return nonfinite_step_; }
  /// First step whose loss rose far above the start, if that was more than one wild batch: twice, or ten times as far.
  std::optional<std::int64_t> risen_step() const;
  /// The loss above which it has risen.
  double limit() const { return start_ + (rise_factor_ - 1) * size(); }
  bool rises_now() const { return rises_now_; }
  std::size_t risen_steps() const { return risen_; }

  /// After it rose, it has since come down below its start and keeps learning: what happened did no lasting
  /// harm. A loss that fell back and then stands still, as that of a dead model, has not recovered.
  bool recovered() const;
  /// The loss is below its start by this share of the start's size.
  bool fell_by(double share) const;
  /// Neither has the loss come down from its start by a tenth, nor is the last quarter of the run lower than
  /// the quarter before it by more than noise or 2 %; or, while it is above its start, by a tenth of that.
  bool makes_no_progress() const;

 private:
  double size() const;  ///< What counts as much: the start's size or the noise.

  double rise_factor_;
  stats::Window early_{16};  ///< The first losses that were not risen.
  stats::Window recent_{8};
  stats::Window settled_{8};  ///< The first losses after the last risen one.
  stats::History history_{64};
  bool recorded_ = false;
  double first_;
  double start_;
  double noise_ = 0;
  double latest_;
  double peak_;
  std::int64_t peak_step_ = 0;
  std::optional<std::int64_t> nonfinite_step_;
  std::optional<std::int64_t> first_risen_;
  std::size_t risen_ = 0;
  bool far_ = false;
  bool rises_now_ = false;
};

}  // namespace gradhealth::rules
