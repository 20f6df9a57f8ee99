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
      rules::broadcast_target(),
      rules::collapsed_output(),
      rules::constant_input(),
      rules::constant_target(),
      rules::dead_units(),
      rules::deep_narrow_network(),
      rules::diverging_loss(),
      rules::double_normalized_input(),
      rules::double_softmax(),
      rules::eval_input_mismatch(),
      rules::excessive_weight_decay(),
      rules::exploding_activation(),
      rules::exploding_gradient(),
      rules::gradient_noise(),
      rules::growing_graph(),
      rules::growing_weight(),
      rules::half_precision_range(),
      rules::initial_loss(),
      rules::input_shift(),
      rules::jacobian_growth(),
      rules::loop_order(),
      rules::loss_spike(),
      rules::missing_warmup(),
      rules::negative_loss(),
      rules::nll_without_log_softmax(),
      rules::no_better_than_constant(),
      rules::no_gradient(),
      rules::nonfinite_activation(),
      rules::nonfinite_buffer(),
      rules::nonfinite_gradient(),
      rules::nonfinite_input(),
      rules::nonfinite_loss(),
      rules::nonfinite_optimizer_state(),
      rules::nonfinite_weight(),
      rules::ordered_batches(),
      rules::oscillating_loss(),
      rules::output_range_mismatch(),
      rules::overfitting(),
      rules::parameter_not_optimized(),
      rules::plateaued_loss(),
      rules::poor_initialization(),
      rules::rank_divergence(),
      rules::repeated_batch(),
      rules::replica_desync(),
      rules::saturated_activation(),
      rules::softmax_over_one_unit(),
      rules::softmax_wrong_dimension(),
      rules::step_without_effect(),
      rules::sum_reduced_loss(),
      rules::symmetric_weight(),
      rules::target_out_of_range(),
      rules::train_mode_in_eval(),
      rules::unbounded_loss(),
      rules::unmasked_padding(),
      rules::unnormalized_input(),
      rules::unnormalized_target(),
      rules::unregistered_parameter(),
      rules::unstable_learning_rate(),
      rules::update_lost_to_rounding(),
      rules::update_too_large(),
      rules::update_too_small(),
      rules::vanished_learning_rate(),
      rules::vanishing_activation(),
      rules::vanishing_gradient(),
      rules::wrong_mode(),
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
