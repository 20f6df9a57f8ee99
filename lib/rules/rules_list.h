#pragma once

#include <gradhealth/rules.h>

/// One factory per rule, defined in the file of the rule's id.
namespace gradhealth::rules {

Rule accumulating_gradient();
Rule adam_epsilon_dominates();
Rule always_clipping();
Rule ascending_step();
Rule attention_logit_growth();
Rule batchnorm_statistics();
Rule dead_units();
Rule deep_narrow_network();
Rule diverging_loss();
Rule exploding_activation();
Rule exploding_gradient();
Rule gradient_noise();
Rule growing_weight();
Rule half_precision_range();
Rule jacobian_growth();
Rule missing_warmup();
Rule no_gradient();
Rule nonfinite_activation();
Rule nonfinite_buffer();
Rule nonfinite_gradient();
Rule nonfinite_input();
Rule nonfinite_loss();
Rule nonfinite_optimizer_state();
Rule nonfinite_weight();
Rule parameter_not_optimized();
Rule poor_initialization();
Rule saturated_activation();
Rule step_without_effect();
Rule symmetric_weight();
Rule unnormalized_input();
Rule unregistered_parameter();
Rule unstable_learning_rate();
Rule update_lost_to_rounding();
Rule update_too_large();
Rule update_too_small();
Rule vanishing_activation();
Rule vanishing_gradient();
Rule zero_gradient();

}  // namespace gradhealth::rules
