#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <gradhealth/run.h>

#include "hooks/capture/activation_call.h"
#include "hooks/capture/training_calls.h"

namespace gradhealth::hooks {

/// Which units of one activation have been zero for how long.
class UnitActivity {
 public:
  /// Takes in one recorded step.
  void observe(const std::vector<std::uint8_t>& active, std::int64_t samples);
  /// Share of the units that were zero for every sample of the last 20 recorded steps or more, and 1,000 samples or
  /// more; nothing before that much has been seen.
  std::optional<double> dead_fraction() const;

 private:
  std::vector<std::int64_t> idle_samples_;
  std::vector<std::int32_t> idle_steps_;
  std::int64_t samples_ = 0;
  std::int32_t steps_ = 0;
};

/// Turns the calls of a step into rows of the run: names them, merges the micro-batches, derives gains.
class ActivationRecorder {
 public:
  /// @param given_inputs what the trainer says the input is, instead of what the first layer has shown; may be empty.
  void record(std::vector<ActivationCall> calls, const TrainingCalls& training,
              const std::vector<InputSums>& given_inputs, Run& run, StepRecord& row);

 private:
  std::size_t subject(const std::string& name, const ActivationCall& call, Run& run);
  void record_input(const std::vector<const InputSums*>& inputs, Run& run, StepRecord& row);

  std::map<std::string, std::size_t> subjects_;
  std::vector<UnitActivity> activity_;
};

}  // namespace gradhealth::hooks
