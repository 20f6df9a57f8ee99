#include "bench/recorded_run.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <string_view>
#include <vector>

#include <gradhealth/run.h>
#include <gradhealth/run_file.h>

namespace bench {
namespace {

using gradhealth::Axis;
using gradhealth::Quantity;
using gradhealth::Run;
using gradhealth::StepRecord;

constexpr std::array<std::string_view, 6> kFaults{"", "vanishing", "nonfinite", "dead", "stuck", "diverging"};
constexpr std::size_t kRowsToFlush = 64;  ///< Far less than the writer's queue holds.

/// Log-normal factors around 1, drawn once: a draw for every value would take longer than everything else.
class Wobble {
 public:
  explicit Wobble(double deviation) {
    std::mt19937 random(1);
    std::normal_distribution<double> normal;
    for (float& factor : factors_) factor = static_cast<float>(std::exp(deviation * normal(random)));
  }
  /// Another stretch of the factors for every row of every quantity.
  void fill(std::vector<float>& values, float level) {
    place_ = place_ * 6364136223846793005u + 1442695040888963407u;
    const std::size_t from = static_cast<std::size_t>(place_ >> 33) % factors_.size();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = level * factors_[(from + i) % factors_.size()];
  }
  float one() {
    std::vector<float> value(1);
    fill(value, 1);
    return value[0];
  }

 private:
  std::vector<float> factors_ = std::vector<float>(std::size_t{1} << 16);
  std::uint64_t place_ = 1;
};

Run network(const RunOptions& options) {
  Run run;
  run.info.name = "net";
  run.info.rank = options.rank;
  run.info.world_size = options.ranks;
  run.info.command_line = "./train";
  run.info.optimizer = "SGD";
  run.info.momentum = 0.9;
  run.info.weight_decay = 0;
  for (std::size_t i = 0; i < options.layers; ++i) {
    const std::string module = "fc" + std::to_string(i);
    run.of(Axis::kParameter).push_back({module + ".weight", module, "weight", "64x64", "float32", 4096});
    if (options.recorded == Recorded::kLeast) continue;
    run.of(Axis::kParameter).push_back({module + ".bias", module, "bias", "64", "float32", 64});
    run.of(Axis::kActivation).push_back({module, module, "addmm", "64x64", "float32", 64});
    if (i + 1 < options.layers)
      run.of(Axis::kActivation).push_back({module + ":relu", module, "relu", "64x64", "float32", 64});
  }
  if (options.recorded == Recorded::kAll)
    for (std::size_t i = 0; i < 64; ++i)
      run.of(Axis::kFeature).push_back({"feature " + std::to_string(i), "", "addmm", "", "float32", 1});
  return run;
}

bool is_recorded(std::int64_t step, Steps schedule) {
  if (schedule == Steps::kEvery || step < 20) return true;
  std::int64_t interval = 10;
  for (std::int64_t from = 10'000; step >= from && interval < 100; from *= 2) interval *= 2;
  return step % std::min<std::int64_t>(interval, 100) == 0;
}

class Training {
 public:
  explicit Training(const RunOptions& options) : run(network(options)), options_(options) {}

  const StepRecord& step(std::int64_t step) {
    record_.clear();
    record_.step = step;
    record_.wall_time = 0.01 * static_cast<double>(step);
    const double progress = std::exp(-40.0 * static_cast<double>(step) / static_cast<double>(options_.steps));
    record_.set(Quantity::kLoss, 0.1 + 2.2 * progress * wobble_.one());
    record_.set(Quantity::kLossNonfinite, 0);
    record_.set(Quantity::kLearningRate, 0.01);
    set_gradient_norms();
    if (options_.ranks > 1) same(Quantity::kWeightFingerprint, run.of(Axis::kParameter).size(), static_cast<float>(step % 9999));
    if (options_.recorded == Recorded::kAll) set_all();
    if (!options_.fault.empty() && step >= options_.steps / 2) spoil();
    return record_;
  }

  const Run run;

 private:
  void put(Quantity quantity, std::size_t subjects, float level) {
    values_.resize(subjects);
    wobble_.fill(values_, level);
    record_.assign(quantity, values_.data(), subjects);
  }
  void same(Quantity quantity, std::size_t subjects, float value) {
    values_.assign(subjects, value);
    record_.assign(quantity, values_.data(), subjects);
  }

  void set_gradient_norms() {
    const std::size_t parameters = run.of(Axis::kParameter).size();
    put(Quantity::kGradientNorm, parameters, 0.2f);
    double squares = 0;
    for (const float norm : values_) squares += static_cast<double>(norm) * static_cast<double>(norm);
    record_.set(Quantity::kGlobalGradientNorm, std::sqrt(squares));
  }

  void set_all() {
    record_.set(Quantity::kStepTime, 0.01);
    record_.set(Quantity::kBatchSize, 64);
    if (record_.step == 0)
      record_.events.push_back({0, "loss-operator", run.of(Axis::kActivation).back().name,
                                "op=cross_entropy_loss prediction=64x10:float32 target=64:int64 reduction=mean"});
    static constexpr std::array<std::pair<Quantity, double>, 16> kScalars{{
        {Quantity::kGradientStage, 0},
        {Quantity::kTargetMin, 0},
        {Quantity::kTargetMax, 9},
        {Quantity::kTargetClasses, 10},
        {Quantity::kTargetEntropy, 2.3},
        {Quantity::kTargetBatchEntropy, 2.2},
        {Quantity::kPredictionMean, 0.1},
        {Quantity::kPredictionStd, 1},
        {Quantity::kPredictionMin, -3},
        {Quantity::kPredictionMax, 3},
        {Quantity::kPredictionSpread, 0.8},
        {Quantity::kCarriedGradients, 0},
        {Quantity::kUpdateGradientCosine, 0.6},
        {Quantity::kGradientAlignment, 0.3},
        {Quantity::kGraphsAlive, 0},
        {Quantity::kOptimizerStateNonfinite, 0},
    }};
    for (const auto& [quantity, value] : kScalars) record_.set(quantity, value);
    const std::size_t parameters = run.of(Axis::kParameter).size();
    put(Quantity::kGradientMax, parameters, 0.05f);
    same(Quantity::kGradientNonfinite, parameters, 0);
    same(Quantity::kGradientZeros, parameters, 0);
    put(Quantity::kWeightNorm, parameters, 5);
    same(Quantity::kWeightNonfinite, parameters, 0);
    put(Quantity::kUpdateRatio, parameters, 4e-3f);
    same(Quantity::kUnchangedFraction, parameters, 0);
    if (record_.step < 20) put(Quantity::kRowSpread, parameters, 1);
    set_activations();
    set_inputs();
  }

  void set_activations() {
    const std::size_t activations = run.of(Axis::kActivation).size();
    put(Quantity::kActivationMean, activations, 0.1f);
    put(Quantity::kActivationStd, activations, 1);
    put(Quantity::kActivationRms, activations, 1);
    put(Quantity::kActivationMax, activations, 4);
    put(Quantity::kActivationZeroFraction, activations, 0.3f);
    for (std::size_t i = 0; i < activations; ++i) values_[i] = i % 2 == 0 ? 0 : std::min(values_[i], 0.95f);
    record_.assign(Quantity::kActivationZeroFraction, values_.data(), activations);
    if (record_.step >= 20) same(Quantity::kActivationDeadFraction, activations, 0.05f);
    same(Quantity::kActivationNonfinite, activations, 0);
    same(Quantity::kActivationSampledFraction, activations, 1);
    put(Quantity::kActivationGradientNorm, activations, 0.1f);
    same(Quantity::kActivationGradientNonfinite, activations, 0);
    put(Quantity::kBackwardGain, activations, 1);
    put(Quantity::kCumulativeGrowth, activations, 1);
  }

  void set_inputs() {
    const std::size_t features = run.of(Axis::kFeature).size();
    same(Quantity::kInputMean, features, 0.02f);
    put(Quantity::kInputStd, features, 1);
    same(Quantity::kInputMin, features, -3);
    same(Quantity::kInputMax, features, 3);
    same(Quantity::kInputNonfinite, features, 0);
    same(Quantity::kInputIntegerFraction, features, 0);
  }

  void scale(Quantity quantity, double (*factor)(double depth)) {
    const std::size_t count = record_.values(quantity).size();
    for (std::size_t i = 0; i < count; ++i)
      record_.set(quantity, i, record_.at(quantity, i) * factor(static_cast<double>(i) / static_cast<double>(count)));
  }

  void spoil() {
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    const std::size_t place = run.of(Axis::kParameter).size() / 3;
    if (options_.fault == "vanishing") {
      const auto fades = [](double depth) { return std::exp(20 * (depth - 1)); };
      scale(Quantity::kGradientNorm, fades);
      scale(Quantity::kActivationGradientNorm, fades);
      record_.set(Quantity::kLoss, 2.3);
    } else if (options_.fault == "nonfinite") {
      record_.set(Quantity::kGradientNorm, place, nan);
      record_.set(Quantity::kGradientNonfinite, place, 64);
      record_.set(Quantity::kWeightNorm, place, nan);
      record_.set(Quantity::kWeightNonfinite, place, 64);
      if (options_.recorded == Recorded::kAll) record_.set(Quantity::kActivationNonfinite, place, 64);
      record_.set(Quantity::kGlobalGradientNorm, nan);
      record_.set(Quantity::kLoss, nan);
      record_.set(Quantity::kLossNonfinite, 1);
    } else if (options_.fault == "dead") {
      for (std::size_t i = 1; i < record_.values(Quantity::kActivationDeadFraction).size(); i += 6) {
        record_.set(Quantity::kActivationDeadFraction, i, 0.97);
        record_.set(Quantity::kActivationZeroFraction, i, 1);
      }
      for (std::size_t i = 0; i < record_.values(Quantity::kGradientNorm).size(); i += 6)
        record_.set(Quantity::kGradientNorm, i, 0);
    } else if (options_.fault == "stuck") {
      record_.set(Quantity::kLoss, 2.3);
      for (std::size_t i = 0; i < record_.values(Quantity::kUpdateRatio).size(); i += 3) {
        record_.set(Quantity::kUpdateRatio, i, i % 2 == 0 ? 0 : 1e-9);
        record_.set(Quantity::kUnchangedFraction, i, 1);
      }
    } else if (options_.fault == "diverging") {
      const auto grows = [](double) { return 1e4; };
      scale(Quantity::kGradientNorm, grows);
      scale(Quantity::kWeightNorm, [](double) { return 30.0; });
      scale(Quantity::kUpdateRatio, grows);
      record_.set(Quantity::kGlobalGradientNorm, 1e4 * record_.at(Quantity::kGlobalGradientNorm));
      record_.set(Quantity::kLoss, 50 + 10 * static_cast<double>(wobble_.one()));
    }
  }

  RunOptions options_;
  Wobble wobble_{0.1};
  StepRecord record_;
  std::vector<float> values_;
};

}  // namespace

bool is_fault(const std::string& name) { return std::find(kFaults.begin(), kFaults.end(), name) != kFaults.end(); }

std::int64_t write_run(const std::filesystem::path& path, const RunOptions& options) {
  Training training(options);
  gradhealth::RunWriter writer(path, training.run, {gradhealth::IfExists::kError});
  std::int64_t rows = 0;
  for (std::int64_t step = 0; step < options.steps; ++step) {
    if (!is_recorded(step, options.schedule)) continue;
    writer.append(training.run, training.step(step));
    if (++rows % static_cast<std::int64_t>(kRowsToFlush) == 0) writer.flush();
  }
  writer.close();
  return rows;
}

}  // namespace bench
