#include <gradhealth/run.h>

namespace gradhealth {
namespace {

constexpr auto f32 = Precision::kFloat32;
constexpr auto f64 = Precision::kFloat64;

constexpr std::array<QuantityInfo, kQuantityCount> kQuantities{{
    {Quantity::kLoss, Axis::kRun, f64, "loss", "loss", "Value passed to step()."},
    {Quantity::kLossNonfinite, Axis::kRun, f64, "loss_nonfinite", "1", "1 if the loss was NaN or infinite, else 0."},
    {Quantity::kGlobalGradientNorm, Axis::kRun, f64, "global_gradient_norm", "loss",
     "L2 norm of the loss gradient over all parameters, as step() found it."},
    {Quantity::kStepTime, Axis::kRun, f64, "step_time", "s",
     "Wall time since the previous step() returned, without the monitor's own time in step()."},
    {Quantity::kLearningRate, Axis::kRun, f64, "learning_rate", "1", "Of the optimizer's first parameter group."},
    {Quantity::kBatchSize, Axis::kRun, f64, "batch_size", "samples",
     "First dimension of what entered the first parametric operator, summed over the step's forward passes."},
    {Quantity::kGradientStage, Axis::kRun, f64, "gradient_stage", "1",
     "What the gradient norms were taken of: 0 the gradients as backward left them, 1 gradients that something had "
     "changed since (clipped, unscaled or reduced by the trainer)."},
    {Quantity::kClipThreshold, Axis::kRun, f64, "clip_threshold", "loss",
     "Largest global gradient norm that clip_grad_norm() let through."},
    {Quantity::kClipFactor, Axis::kRun, f64, "clip_factor", "1",
     "What clip_grad_norm() multiplied the gradients by after their norms were taken; 1: nothing was clipped."},
    {Quantity::kNonlinearityCoefficient, Axis::kRun, f64, "nonlinearity_coefficient", "1",
     "sqrt(E tr(J Cov_x J^T) / tr Cov_f) of the network's Jacobian J over the step's samples, estimated with one random "
     "cotangent a sample."},
    {Quantity::kCurvature, Axis::kRun, f64, "curvature", "loss",
     "Largest eigenvalue of the loss's Hessian by the parameters, on the step's samples."},
    {Quantity::kTargetMean, Axis::kRun, f64, "target_mean", "1",
     "Mean of the floating-point targets that the loss was computed from."},
    {Quantity::kTargetStd, Axis::kRun, f64, "target_std", "1", "Standard deviation of the same."},
    {Quantity::kTargetMin, Axis::kRun, f64, "target_min", "1", "Smallest target, class indices included."},
    {Quantity::kTargetMax, Axis::kRun, f64, "target_max", "1", "Largest target, class indices included."},
    {Quantity::kTargetClasses, Axis::kRun, f64, "target_classes", "1", "Classes that the loss tells apart."},
    {Quantity::kTargetEntropy, Axis::kRun, f64, "target_entropy", "nats",
     "Entropy of the frequencies of the classes among all targets recorded so far."},
    {Quantity::kTargetBatchEntropy, Axis::kRun, f64, "target_batch_entropy", "nats",
     "Entropy of the frequencies of the classes among this step's targets."},
    {Quantity::kPredictionMean, Axis::kRun, f64, "prediction_mean", "1",
     "Mean of what the loss compares with the targets, as it enters the loss's operator; of large predictions from evenly "
     "spaced samples, like all that is said of predictions and targets."},
    {Quantity::kPredictionStd, Axis::kRun, f64, "prediction_std", "1", "Standard deviation of the same."},
    {Quantity::kPredictionMin, Axis::kRun, f64, "prediction_min", "1", "Smallest of them."},
    {Quantity::kPredictionMax, Axis::kRun, f64, "prediction_max", "1", "Largest of them."},
    {Quantity::kPredictionSpread, Axis::kRun, f64, "prediction_spread", "1",
     "Standard deviation over the samples, root mean square over the outputs; 0: the same for every sample."},
    {Quantity::kCarriedGradients, Axis::kRun, f64, "carried_gradients", "1",
     "Share of the parameters whose gradient was neither undefined nor zero when the step's first backward pass added "
     "to it."},
    {Quantity::kUpdateGradientCosine, Axis::kRun, f64, "update_gradient_cosine", "1",
     "Cosine between the step's update and the negative gradient that it was made from, over the sampled elements of "
     "all parameters."},
    {Quantity::kGradientAlignment, Axis::kRun, f64, "gradient_alignment", "1",
     "Cosine between the step's gradient and that of the step recorded before, over the sampled elements of all "
     "parameters."},
    {Quantity::kNormsTraining, Axis::kRun, f64, "norms_training", "calls",
     "Batch and instance normalisations of the differentiated passes that used the batch's statistics."},
    {Quantity::kNormsEvaluation, Axis::kRun, f64, "norms_evaluation", "calls", "Those that used running statistics."},
    {Quantity::kDropoutsTraining, Axis::kRun, f64, "dropouts_training", "calls",
     "Dropouts of the differentiated passes that dropped; those of probability 0 are not counted."},
    {Quantity::kDropoutsEvaluation, Axis::kRun, f64, "dropouts_evaluation", "calls",
     "Those that passed everything on."},
    {Quantity::kGraphsAlive, Axis::kRun, f64, "graphs_alive", "graphs",
     "Autograd graphs of the last 20 recorded steps before this one, without the last two, that are still held by "
     "something."},
    {Quantity::kBuffersNonfinite, Axis::kRun, f64, "buffers_nonfinite", "elements",
     "NaN or infinite elements of the model's buffers before the step's update; infinities that were there from the start, "
     "as in masks, are not counted."},
    {Quantity::kOptimizerStateNonfinite, Axis::kRun, f64, "optimizer_state_nonfinite", "elements",
     "NaN or infinite elements among those sampled of the optimizer's moments, before the step's update."},
    {Quantity::kEvalSamples, Axis::kRun, f64, "eval_samples", "samples",
     "Samples of the passes without gradients, between the step before and this one, that were looked at."},
    {Quantity::kEvalInputMean, Axis::kRun, f64, "eval_input_mean", "1", "Mean of their input."},
    {Quantity::kEvalInputStd, Axis::kRun, f64, "eval_input_std", "1", "Standard deviation of their input."},
    {Quantity::kEvalNormsTraining, Axis::kRun, f64, "eval_norms_training", "calls",
     "Batch normalisations of those passes that used the batch's statistics."},
    {Quantity::kEvalDropoutsTraining, Axis::kRun, f64, "eval_dropouts_training", "calls",
     "Dropouts of those passes that dropped."},
    {Quantity::kNamedValue, Axis::kNamed, f64, "value", "1", "Value recorded by name."},
    {Quantity::kGradientNorm, Axis::kParameter, f32, "gradient_norm", "loss",
     "L2 norm of the loss gradient over all elements, as step() found it; missing where the gradient is undefined."},
    {Quantity::kGradientMax, Axis::kParameter, f32, "gradient_max", "loss", "Largest |gradient| of an element, NaN passed over."},
    {Quantity::kGradientNonfinite, Axis::kParameter, f32, "gradient_nonfinite", "elements",
     "NaN or infinite gradient elements."},
    {Quantity::kGradientZeros, Axis::kParameter, f32, "gradient_zeros", "elements",
     "Gradient elements that are exactly zero."},
    {Quantity::kWeightNorm, Axis::kParameter, f32, "weight_norm", "1", "L2 norm before the step's update; of large parameters possibly estimated from a sample of the elements."},
    {Quantity::kWeightNonfinite, Axis::kParameter, f32, "weight_nonfinite", "elements",
     "NaN or infinite elements before the step's update, among those that weight_norm was taken of."},
    {Quantity::kUpdateRatio, Axis::kParameter, f32, "update_ratio", "1",
     "Norm of the step's update over the norm before it, from a fixed sample of the elements; exactly 0 only if no "
     "element changed."},
    {Quantity::kUnchangedFraction, Axis::kParameter, f32, "unchanged_fraction", "1",
     "Share of the sampled elements with a gradient other than zero that the step's update left exactly as they were."},
    {Quantity::kRowSpread, Axis::kParameter, f32, "row_spread", "1",
     "Root mean square of the rows' differences from their mean over the weight's root mean square before the step's "
     "update, rows being all that shares the first index; 0: all rows are the same. Only where weights of up to 4 Mi elements are "
     "read whole."},
    {Quantity::kActivationMean, Axis::kActivation, f32, "mean", "1", "Mean over the elements that were read."},
    {Quantity::kActivationStd, Axis::kActivation, f32, "std", "1", "Standard deviation over the elements that were read."},
    {Quantity::kActivationRms, Axis::kActivation, f32, "rms", "1", "Root mean square over the elements that were read."},
    {Quantity::kActivationMax, Axis::kActivation, f32, "max", "1", "Largest |element| of those that were read, NaN passed over."},
    {Quantity::kActivationZeroFraction, Axis::kActivation, f32, "zero_fraction", "1",
     "Share of the elements that were read that are exactly zero."},
    {Quantity::kActivationDeadFraction, Axis::kActivation, f32, "dead_fraction", "1",
     "Share of the units that were zero for every sample of the window (at least 20 recorded steps and 1,000 samples)."},
    {Quantity::kActivationNonfinite, Axis::kActivation, f32, "nonfinite", "elements",
     "NaN or infinite elements among those that were read."},
    {Quantity::kActivationGradientNorm, Axis::kActivation, f32, "gradient_norm", "loss",
     "L2 norm of the loss gradient at this activation, over the whole batch."},
    {Quantity::kActivationGradientNonfinite, Axis::kActivation, f32, "gradient_nonfinite", "elements",
     "NaN or infinite elements of the loss gradient at this activation."},
    {Quantity::kBackwardGain, Axis::kActivation, f32, "backward_gain", "1",
     "Gradient norm at the activation recorded before this one over the gradient norm at this one."},
    {Quantity::kCumulativeGrowth, Axis::kActivation, f32, "cumulative_growth", "1",
     "Gradient norm at this activation over the gradient norm at the last one of the model."},
    {Quantity::kActivationSampledFraction, Axis::kActivation, f32, "sampled_fraction", "1",
     "Share of the elements that mean, std, rms, max, zero_fraction and nonfinite were taken of; 1: all of them."},
    {Quantity::kJacobianNorm, Axis::kActivation, f32, "jacobian_norm", "1",
     "Frobenius norm of the Jacobian of the model's output by this activation, root mean square over the samples, "
     "estimated with one random cotangent a sample."},
    {Quantity::kGradientScaleCoefficient, Axis::kActivation, f32, "gradient_scale_coefficient", "1",
     "jacobian_norm / sqrt(values a sample of this activation) * norm of this activation / norm of the output."},
    {Quantity::kJacobianZScore, Axis::kActivation, f32, "jacobian_z_score", "1",
     "Standard deviations of ln(squared norm of the propagated cotangent over that of the cotangent) from what depth, "
     "width and the weights' scale lead one to expect; only for chains of linear layers with ReLU."},
    {Quantity::kSpectralNorm, Axis::kActivation, f32, "spectral_norm", "1",
     "Largest singular value of the Jacobian of this activation by the one before it, over the whole batch."},
    {Quantity::kActivationSaturatedFraction, Axis::kActivation, f32, "saturated_fraction", "1",
     "Sigmoid and tanh: share of the elements that were read whose derivative is below 1 % of its maximum. Softmax: "
     "share of the distributions with a probability above 0.99."},
    {Quantity::kActivationLogitStd, Axis::kActivation, f32, "logit_std", "1",
     "Softmax only: standard deviation within a distribution of what entered it, root mean square over the "
     "distributions; values below -1e4 are taken for masked and left out."},
    {Quantity::kRunningStatisticsGap, Axis::kActivation, f32, "running_statistics_gap", "nats",
     "Batch normalisation in training: Kullback-Leibler divergence of a normal distribution with the running mean and "
     "variance from one with the batch's, mean over the channels."},
    {Quantity::kPaddingFraction, Axis::kActivation, f32, "padding_fraction", "1",
     "Of an embedding with a padding_idx: share of the indices looked up that are it."},
    {Quantity::kMaskedFraction, Axis::kActivation, f32, "masked_fraction", "1",
     "Of a softmax: share of the logits that a mask excludes, minus infinity or below -10,000."},
    {Quantity::kInputMean, Axis::kFeature, f32, "mean", "1", "Mean of the finite values of the step's samples."},
    {Quantity::kInputStd, Axis::kFeature, f32, "std", "1", "Standard deviation of the finite values of the step's samples."},
    {Quantity::kInputMin, Axis::kFeature, f32, "min", "1", "Smallest finite value of the step's samples."},
    {Quantity::kInputMax, Axis::kFeature, f32, "max", "1", "Largest finite value of the step's samples."},
    {Quantity::kInputNonfinite, Axis::kFeature, f32, "nonfinite", "elements", "NaN or infinite values."},
    {Quantity::kInputIntegerFraction, Axis::kFeature, f32, "integer_fraction", "1",
     "Share of the finite values that are whole numbers."},
    {Quantity::kWeightFingerprint, Axis::kParameter, f32, "weight_fingerprint", "1",
     "24 bits that depend on every bit of the sampled elements, as step() found them; with several ranks only."},
    {Quantity::kReplicasDiffering, Axis::kParameter, f32, "replicas_differing", "ranks",
     "Ranks whose weight_fingerprint is not rank 0's; in rank 0's file."},
    {Quantity::kRankLoss, Axis::kRank, f64, "loss", "loss", "Each rank's loss; in rank 0's file, as all of this axis."},
    {Quantity::kRankGradientNorm, Axis::kRank, f64, "gradient_norm", "loss", "Each rank's global gradient norm."},
    {Quantity::kRankNonfinite, Axis::kRank, f32, "nonfinite", "1",
     "1 if the rank's loss or a gradient was NaN or infinite, else 0; not recorded: the rank did not take part."},
    {Quantity::kRankParametersDiffering, Axis::kRank, f32, "parameters_differing", "parameters",
     "Parameters whose weight_fingerprint is not rank 0's."},
    {Quantity::kInputShare, Axis::kInputBin, f32, "share", "1",
     "Share of the finite values, among at most 4,096 evenly spaced ones, that lie in the bin: one of 32 of equal width "
     "from the feature's min to its max, or from the smallest min to the largest max where all features have one "
     "histogram."},
}};

constexpr bool in_enumeration_order() {
  for (std::size_t i = 0; i < kQuantities.size(); ++i)
    if (static_cast<std::size_t>(kQuantities[i].id) != i) return false;
  return true;
}
static_assert(in_enumeration_order());

}  // namespace

const std::array<QuantityInfo, kQuantityCount>& quantities() { return kQuantities; }

const QuantityInfo& info(Quantity quantity) { return kQuantities[static_cast<std::size_t>(quantity)]; }

std::string_view name(Axis axis) {
  constexpr std::array<std::string_view, kAxisCount> names{"run",     "named", "parameter", "activation",
                                                          "feature", "rank",  "input_bin"};
  return names[static_cast<std::size_t>(axis)];
}

}  // namespace gradhealth
