#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <gradhealth/rules.h>

#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/persistence.h"
#include "rules/support/signal_profile.h"
#include "stats/window.h"

namespace gradhealth::rules {

/// What exploding and vanishing activations have in common: the size of the signal changes from layer to layer by a
/// factor that multiplies up.
class SignalGrowthJudge : public Judge {
 public:
  void observe(const Run& run, const StepRecord& record) override;
  std::size_t alarms() const override { return alarm_.count(); }
  Outcome outcome() const override;

 protected:
  /// @param growth last over first signal that is too much: above 1 for growth, below 1 for shrinkage.
  SignalGrowthJudge(const char* rule, double growth, const RuleOptions& options);

 private:
  std::optional<Severity> severity() const;
  Finding finding(Severity severity) const;

  const char* rule_;
  double log_growth_;
  std::size_t min_layers_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Layers layers_;
  Persistence persistence_;
  SignalProfile profile_;  ///< Of the last step that had one.
  stats::Window typical_{8};
  stats::Window growths_{8};
  std::vector<double> scratch_;
  std::size_t hidden_ = 0;
  std::size_t steps_ = 0;
  Subject first_;
  Subject last_;
  std::vector<std::string> weights_;
  bool saturating_ = false;  ///< Sigmoid or tanh between the layers.
};

/// Options of both rules, but for the growth itself.
std::vector<OptionInfo> signal_growth_options();

}  // namespace gradhealth::rules
