#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <gradhealth/run.h>

#include "rules/support/constant_loss.h"
#include "rules/support/loss_track.h"

namespace gradhealth::rules {

/// What became of a run's loss: the consequence without which most pathologies are no error.
class LossHarm {
 public:
  /// @param rise_factor a loss has risen when it is this many times its start (above zero).
  explicit LossHarm(double rise_factor = 3) : loss_(rise_factor) {}

  void observe(const Run& run, const StepRecord& record);

  const LossTrack& loss() const { return loss_; }
  /// Not finite, or far above its start without having come back. Losses declared adversarial or reinforcement may
  /// rise. What an unguarded operator made of finite values is that operator's doing and does not count.
  bool rose() const;
  /// For long enough to tell, outside warm-up, and only of a loss that is there to fall: it makes no progress, or stays
  /// above where it began and above what the same answer to every sample would cost. A run that goes on from a
  /// checkpoint has no start to compare with, and never stands still.
  bool stands_still() const;
  bool any() const { return rose() || stands_still(); }
  /// The loss is far below its start: whatever the model suffers from, it learns.
  bool learns() const { return loss_.fell_by(0.5) && !rose() && !loss_.nonfinite_step() && !worse_than_constant(); }
  /// "the loss stands still at 0.693 (start 0.693)"; of a healthy loss "the loss is 0.1 (start 2.3)".
  std::string words() const;

 private:
  bool worse_than_constant() const;

  LossTrack loss_;
  ConstantLoss constant_;
  bool minimized_ = true;
  bool from_start_ = true;
  bool unguarded_ = false;  ///< An operator such as log made the first non-finite value.
  std::optional<std::int64_t> first_step_;
  std::int64_t still_since_ = 0;  ///< Step of the first loss, or at which the learning rate last rose.
  std::int64_t last_step_ = 0;
  double rate_ = 0;
};

}  // namespace gradhealth::rules
