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
Rule broadcast_target();
Rule collapsed_output();
Rule constant_input();
Rule dead_units();
Rule deep_narrow_network();
Rule diverging_loss();
Rule double_normalized_input();
Rule double_softmax();
Rule eval_input_mismatch();
Rule excessive_weight_decay();
Rule exploding_activation();
Rule exploding_gradient();
Rule gradient_noise();
Rule growing_graph();
Rule growing_weight();
Rule half_precision_range();
Rule initial_loss();
Rule input_shift();
Rule jacobian_growth();
Rule loop_order();
Rule loss_spike();
Rule missing_warmup();
Rule negative_loss();
Rule nll_without_log_softmax();
Rule no_better_than_constant();
Rule no_gradient();
Rule nonfinite_activation();
Rule nonfinite_buffer();
Rule nonfinite_gradient();
Rule nonfinite_input();
Rule nonfinite_loss();
Rule nonfinite_optimizer_state();
Rule nonfinite_weight();
Rule ordered_batches();
Rule oscillating_loss();
Rule output_range_mismatch();
Rule overfitting();
Rule parameter_not_optimized();
Rule plateaued_loss();
Rule poor_initialization();
Rule rank_divergence();
Rule repeated_batch();
Rule replica_desync();
Rule saturated_activation();
Rule softmax_over_one_unit();
Rule step_without_effect();
Rule sum_reduced_loss();
Rule symmetric_weight();
Rule train_mode_in_eval();
Rule unmasked_padding();
Rule unnormalized_input();
Rule unnormalized_target();
Rule unregistered_parameter();
Rule unstable_learning_rate();
Rule update_lost_to_rounding();
Rule update_too_large();
Rule update_too_small();
Rule vanishing_activation();
Rule vanishing_gradient();
Rule wrong_mode();
Rule zero_gradient();

}  // namespace gradhealth::rules
