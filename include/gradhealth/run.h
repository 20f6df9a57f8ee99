#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The record of one training: what was measured, of whom, step after step.
namespace gradhealth {

/// What indexes the second dimension of a quantity.
enum class Axis : std::uint8_t {
  kRun,         ///< One number a step.
  kNamed,       ///< Values the trainer recorded by name.
  kParameter,   ///< Parameters, in `named_parameters()` order.
  kActivation,  ///< Activations, in the order of their first forward pass.
  kFeature,     ///< Features (or channels) of the model's input.
  kRank,        ///< Processes that train replicas of the model, rank 0 first.
  kInputBin,    ///< Bins of the input's histograms, `kInputBins` of each in a row.
};
inline constexpr std::size_t kAxisCount = 7;

/// Bins of a histogram of the input, of equal width from the smallest to the largest value of the same row. As many
/// histograms as features, or one of all features together.
inline constexpr std::size_t kInputBins = 32;

/// Everything that is recorded. `quantities()` says what each one means.
enum class Quantity : std::uint8_t {
  kLoss,
  kLossNonfinite,
  kGlobalGradientNorm,
  kStepTime,
  kLearningRate,
  kBatchSize,
  kGradientStage,
  kClipThreshold,
  kClipFactor,
  kNonlinearityCoefficient,
  kCurvature,
  kTargetMean,
  kTargetStd,
  kTargetMin,
  kTargetMax,
  kTargetClasses,
  kTargetEntropy,
  kTargetBatchEntropy,
  kPredictionMean,
  kPredictionStd,
  kPredictionMin,
  kPredictionMax,
  kPredictionSpread,
  kCarriedGradients,
  kUpdateGradientCosine,
  kGradientAlignment,
  kNormsTraining,
  kNormsEvaluation,
  kDropoutsTraining,
  kDropoutsEvaluation,
  kGraphsAlive,
  kBuffersNonfinite,
  kOptimizerStateNonfinite,
  kEvalSamples,
  kEvalInputMean,
  kEvalInputStd,
  kEvalNormsTraining,
  kEvalDropoutsTraining,
  kNamedValue,
  kGradientNorm,
  kGradientMax,
  kGradientNonfinite,
  kGradientZeros,
  kWeightNorm,
  kWeightNonfinite,
  kUpdateRatio,
  kUnchangedFraction,
  kRowSpread,
  kActivationMean,
  kActivationStd,
  kActivationRms,
  kActivationMax,
  kActivationZeroFraction,
  kActivationDeadFraction,
  kActivationNonfinite,
  kActivationGradientNorm,
  kActivationGradientNonfinite,
  kBackwardGain,
  kCumulativeGrowth,
  kActivationSampledFraction,
  kJacobianNorm,
  kGradientScaleCoefficient,
  kJacobianZScore,
  kSpectralNorm,
  kActivationSaturatedFraction,
  kActivationLogitStd,
  kRunningStatisticsGap,
  kPaddingFraction,
  kMaskedFraction,
  kInputMean,
  kInputStd,
  kInputMin,
  kInputMax,
  kInputNonfinite,
  kInputIntegerFraction,
  kWeightFingerprint,
  kReplicasDiffering,
  kRankLoss,
  kRankGradientNorm,
  kRankNonfinite,
  kRankParametersDiffering,
  kInputShare,
};
inline constexpr std::size_t kQuantityCount = 82;

/// How a quantity is stored.
enum class Precision : std::uint8_t { kFloat32, kFloat64 };

/// One row of the table of quantities.
struct QuantityInfo {
  Quantity id;
  Axis axis;
  Precision precision;
  std::string_view name;         ///< Unique on its axis, e.g. "gradient_norm".
  std::string_view unit;         ///< "1" for ratios and counts; "loss" for the loss's own unit.
  std::string_view description;  ///< Definition, one sentence.
};

/// All quantities, in the order of the enumeration.
const std::array<QuantityInfo, kQuantityCount>& quantities();
const QuantityInfo& info(Quantity quantity);

/// "run", "named", "parameter", "activation", "feature", "rank", "input_bin".
std::string_view name(Axis axis);

/// One parameter, activation, input feature, named value, rank or bin.
struct Subject {
  std::string name;       ///< Parameter "conv1.weight"; activation "conv1" or "conv1:relu"; feature "channel 0";
                          ///< bin "channel 0, bin 3".
  std::string module;     ///< Module path, "conv1"; empty for features and named values.
  std::string kind;       ///< Parameter: "weight", "bias" or "scale"; activation: operator, "relu"; feature: the
                          ///< operator that consumes the input, "conv2d".
  std::string shape;      ///< "16x1x3x3"; of an activation or input: the first batch's.
  std::string dtype;      ///< "float32".
  std::int64_t size = 0;  ///< Parameter: elements. Activation: units (channels or features). Feature: values a sample.
};

/// What is known about a run before its first step. Absent numbers are unknown, not zero.
struct RunInfo {
  std::string name;  ///< The monitor's name; tells models of one run apart ("G", "D").
  std::string created_utc;
  std::string command_line;
  std::string libraries;           ///< "LibTorch 1.13.1, HDF5 1.10.8".
  std::string optimizer;           ///< "SGD", "Adam", …; empty when the monitor was given none.
  std::optional<double> momentum;  ///< SGD's momentum, or Adam's beta1.
  std::optional<double> beta2;     ///< Adam's; RMSprop's alpha.
  std::optional<double> epsilon;   ///< What Adam, RMSprop and Adagrad add to the denominator.
  std::optional<double> weight_decay;
  std::string loss_kind;        ///< What the trainer declared: "minimized", "adversarial", "reinforcement",
                                ///< "density"; empty: nothing.
  std::int64_t first_step = 0;  ///< Updates made before this file's first step, by an earlier part of the run.
  std::string continues;        ///< File name of that part, in the same directory; empty if there is none.
  std::int64_t rank = 0;        ///< Of the process, in a training of
  std::int64_t world_size = 1;  ///< so many, each with a replica of the model and a file of its own.
};

/// Who was recorded. Subjects are only ever appended.
struct Run {
  RunInfo info;
  // The braces are for clang 14, which otherwise uses the vectors' constructor without making it.
  std::array<std::vector<Subject>, kAxisCount> subjects{};

  const std::vector<Subject>& of(Axis axis) const { return subjects[static_cast<std::size_t>(axis)]; }
  std::vector<Subject>& of(Axis axis) { return subjects[static_cast<std::size_t>(axis)]; }
};

/// Something that happened, as opposed to something measured at every step.
struct Event {
  std::int64_t step = 0;
  std::string kind;     ///< "nonfinite-input", "nonfinite-origin", "flight-recorder", "finding", …: see FORMAT.md.
  std::string subject;  ///< Subject name, or empty.
  std::string text;
};

/// One recorded step. Values have exactly the precision with which they are stored, so that rules see
/// the same numbers live and offline.
class StepRecord {
 public:
  std::int64_t step = 0;
  double wall_time = 0;  ///< Seconds since the run was created.
  std::vector<Event> events;

  /// The value, or NaN when nothing was recorded. A recorded value may be NaN or infinite too; the
  /// matching `…Nonfinite` quantity tells the two apart.
  double at(Quantity quantity, std::size_t subject = 0) const {
    const std::vector<double>& column = values(quantity);
    return subject < column.size() ? column[subject] : std::numeric_limits<double>::quiet_NaN();
  }
  /// Rounds to the stored precision.
  void set(Quantity quantity, std::size_t subject, double value);
  void set(Quantity quantity, double value) { set(quantity, 0, value); }
  /// All subjects' values; shorter than the axis when the last ones were not recorded.
  const std::vector<double>& values(Quantity quantity) const { return values_[static_cast<std::size_t>(quantity)]; }
  void assign(Quantity quantity, const float* values, std::size_t count);
  void assign(Quantity quantity, const double* values, std::size_t count);
  /// Forgets all values and events; keeps the memory.
  void clear();

 private:
  std::array<std::vector<double>, kQuantityCount> values_;
};

}  // namespace gradhealth
