#include "tools/runs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <hdf5.h>

#include <gradhealth/run_file.h>

namespace runs {
namespace {

using gradhealth::Axis;
using gradhealth::Quantity;
using gradhealth::Run;
using gradhealth::RunWriter;
using gradhealth::StepRecord;

Run network(const std::string& model) {
  Run run;
  run.info.name = model;
  run.info.command_line = "./train";
  run.info.libraries = "LibTorch 2.6.0";
  run.info.optimizer = "SGD";
  run.info.momentum = 0.9;
  for (const char* layer : {"fc1", "fc2", "fc3"}) {
    run.of(Axis::kParameter).push_back({std::string(layer) + ".weight", layer, "weight", "64x64", "float32", 4096});
    run.of(Axis::kParameter).push_back({std::string(layer) + ".bias", layer, "bias", "64", "float32", 64});
    run.of(Axis::kActivation).push_back({layer, layer, "linear", "32x64", "float32", 64});
  }
  run.of(Axis::kFeature).push_back({"feature 0", "", "linear", "32x64", "float32", 1});
  return run;
}

/// A wobble that is the same on every machine.
double wobble(std::int64_t step, std::size_t subject) {
  return 1 + 0.1 * std::sin(static_cast<double>(step) * 1.7 + static_cast<double>(subject));
}

StepRecord healthy_step(const Run& run, std::int64_t step) {
  StepRecord record;
  record.step = step;
  record.wall_time = 0.01 * static_cast<double>(step);
  const double progress = std::exp(-static_cast<double>(step) / 80);
  record.set(Quantity::kLoss, 0.1 + 2.2 * progress * wobble(step, 0));
  record.set(Quantity::kLossNonfinite, 0);
  record.set(Quantity::kGlobalGradientNorm, 0.3 * wobble(step, 1));
  record.set(Quantity::kStepTime, 0.01);
  record.set(Quantity::kLearningRate, 0.01);
  record.set(Quantity::kBatchSize, 32);
  for (std::size_t i = 0; i < run.of(Axis::kParameter).size(); ++i) {
    const bool weight = i % 2 == 0;
    record.set(Quantity::kGradientNorm, i, (weight ? 0.1 : 0.02) * wobble(step, i));
    record.set(Quantity::kGradientMax, i, 0.01 * wobble(step, i));
    record.set(Quantity::kGradientNonfinite, i, 0);
    record.set(Quantity::kGradientZeros, i, 0);
    record.set(Quantity::kWeightNorm, i, (weight ? 8 : 0.6) + 0.0005 * static_cast<double>(step));
    record.set(Quantity::kWeightNonfinite, i, 0);
    record.set(Quantity::kUpdateRatio, i, 1e-3 * wobble(step, i));
  }
  for (std::size_t i = 0; i < run.of(Axis::kActivation).size(); ++i) {
    record.set(Quantity::kActivationMean, i, 0.05 * wobble(step, i));
    record.set(Quantity::kActivationStd, i, 0.9 * wobble(step, i));
    record.set(Quantity::kActivationRms, i, 0.9 * wobble(step, i));
    record.set(Quantity::kActivationMax, i, 3.5 * wobble(step, i));
    record.set(Quantity::kActivationZeroFraction, i, 0);
    record.set(Quantity::kActivationDeadFraction, i, 0);
    record.set(Quantity::kActivationNonfinite, i, 0);
    record.set(Quantity::kActivationGradientNorm, i, 0.05 * wobble(step, i));
    record.set(Quantity::kActivationGradientNonfinite, i, 0);
    record.set(Quantity::kBackwardGain, i, wobble(step, i));
    record.set(Quantity::kCumulativeGrowth, i, wobble(step, i));
  }
  record.set(Quantity::kInputMean, 0.01 * wobble(step, 0));
  record.set(Quantity::kInputStd, wobble(step, 1));
  record.set(Quantity::kInputMin, -2.5);
  record.set(Quantity::kInputMax, 2.5);
  record.set(Quantity::kInputNonfinite, 0);
  record.set(Quantity::kInputIntegerFraction, 0);
  return record;
}

void spoil(const Run& run, StepRecord& record) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  record.set(Quantity::kLoss, nan);
  record.set(Quantity::kLossNonfinite, 1);
  record.set(Quantity::kGlobalGradientNorm, nan);
  for (std::size_t i = 0; i < run.of(Axis::kParameter).size(); ++i) {
    record.set(Quantity::kGradientNorm, i, nan);
    record.set(Quantity::kGradientNonfinite, i, 64);
    record.set(Quantity::kWeightNorm, i, nan);
    record.set(Quantity::kWeightNonfinite, i, 64);
  }
}

}  // namespace

void healthy(const std::filesystem::path& path, std::int64_t steps, const std::string& model, Ending ending) {
  const Run run = network(model);
  RunWriter writer(path, run);
  for (std::int64_t step = 0; step < steps; ++step) writer.append(run, healthy_step(run, step));
  if (ending == Ending::kClosed) {
    writer.close();
    return;
  }
  // What a trainer that dies here would leave behind.
  writer.flush();
  const std::filesystem::path copy = path.string() + ".copy";
  std::filesystem::copy_file(path, copy);
  writer.close();
  std::filesystem::rename(copy, path);
}

void broken(const std::filesystem::path& path, const std::string& model) {
  const Run run = network(model);
  RunWriter writer(path, run);
  for (std::int64_t step = 0; step < 100; ++step) {
    StepRecord record = healthy_step(run, step);
    if (step >= 40) spoil(run, record);
    writer.append(run, record);
  }
  writer.close();
}

void broken_continuation(const std::filesystem::path& path, const std::string& continues, std::int64_t first_step) {
  Run run = network("");
  run.info.continues = continues;
  run.info.first_step = first_step;
  std::vector<gradhealth::Subject>& parameters = run.of(Axis::kParameter);
  std::reverse(parameters.begin(), parameters.end());
  const auto weight = static_cast<std::size_t>(
      std::find_if(parameters.begin(), parameters.end(), [](const auto& p) { return p.name == "fc1.weight"; }) -
      parameters.begin());
  RunWriter writer(path, run);
  for (std::int64_t step = first_step; step < first_step + 100; ++step) {
    StepRecord record = healthy_step(run, step);
    if (step >= first_step + 40) {
      record.set(Quantity::kGradientNorm, weight, std::numeric_limits<double>::quiet_NaN());
      record.set(Quantity::kGradientNonfinite, weight, 64);
    }
    writer.append(run, record);
  }
  writer.close();
}

void truncate(const std::filesystem::path& path, double share) {
  const auto size = static_cast<double>(std::filesystem::file_size(path));
  std::filesystem::resize_file(path, static_cast<std::uintmax_t>(size * share));
}

void foreign(const std::filesystem::path& path) {
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT);
  H5Fclose(file);
}

}  // namespace runs
