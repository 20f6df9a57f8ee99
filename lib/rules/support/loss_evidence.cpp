#include "rules/support/loss_evidence.h"

#include <cmath>

#include "rules/support/rule_support.h"

namespace gradhealth::rules {

Evidence loss_evidence(const LossHarm& harm) {
  const LossTrack& loss = harm.loss();
  if (const auto step = loss.nonfinite_step())
    return evidence("first step with a non-finite loss", static_cast<double>(*step), "≥", 0, Quantity::kLossNonfinite);
  if (harm.rose()) return evidence("highest loss", loss.peak(), ">", loss.limit(), Quantity::kLoss);
  return evidence("latest loss; to be learning, it must have left its start by a tenth", loss.recent(), ">",
                  loss.start() - 0.1 * std::abs(loss.start()), Quantity::kLoss);
}

bool is_minimized(const RunInfo& info) { return info.loss_kind != "adversarial" && info.loss_kind != "reinforcement"; }

}  // namespace gradhealth::rules
