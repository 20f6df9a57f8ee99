#include <gradhealth/rules.h>

#include "rules/rules_list.h"

namespace gradhealth {

std::string_view name(Severity severity) {
  switch (severity) {
    case Severity::kInfo: return "info";
    case Severity::kWarning: return "warning";
    case Severity::kError: return "error";
  }
  return "";
}

const std::vector<Rule>& catalogue() {
  // clang-format off
  static const std::vector<Rule> rules{
      rules::accumulating_gradient(),
      rules::adam_epsilon_dominates(),
      rules::always_clipping(),
      rules::ascending_step(),
      rules::attention_logit_growth(),
      rules::batchnorm_statistics(),
      rules::dead_units(),
      rules::deep_narrow_network(),
      rules::diverging_loss(),
      rules::exploding_activation(),
      rules::exploding_gradient(),
      rules::gradient_noise(),
      rules::growing_weight(),
      rules::half_precision_range(),
      rules::jacobian_growth(),
      rules::missing_warmup(),
      rules::no_gradient(),
      rules::nonfinite_activation(),
      rules::nonfinite_buffer(),
      rules::nonfinite_gradient(),
      rules::nonfinite_input(),
      rules::nonfinite_loss(),
      rules::nonfinite_optimizer_state(),
      rules::nonfinite_weight(),
      rules::parameter_not_optimized(),
      rules::poor_initialization(),
      rules::saturated_activation(),
      rules::step_without_effect(),
      rules::symmetric_weight(),
      rules::unnormalized_input(),
      rules::unregistered_parameter(),
      rules::unstable_learning_rate(),
      rules::update_lost_to_rounding(),
      rules::update_too_large(),
      rules::update_too_small(),
      rules::vanishing_activation(),
      rules::vanishing_gradient(),
      rules::zero_gradient(),
  };
  // clang-format on
  return rules;
}

const Rule* find_rule(const std::vector<Rule>& rules, const std::string& id) {
  for (const Rule& rule : rules)
    if (rule.info.id == id) return &rule;
  return nullptr;
}

}  // namespace gradhealth
